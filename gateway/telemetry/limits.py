"""Every bound of this room: number, unit, reason."""

from typing import Final

MAX_TEXT: Final = 500
"""Characters of one value in a log line: a device chooses some of them, and a line should stay readable."""

MAX_TRACEBACK: Final = 20_000
"""Characters of a traceback, counted from its end, where the cause stands."""

MAX_NESTING: Final = 4
"""Levels of lists and tables in a value of a log line; what lies deeper is left out."""

MAX_ITEMS: Final = 50
"""Items of a list or table in a value of a log line."""

MAX_LIMITED_EVENTS: Final = 256
"""Event names that a limiter tells apart. Names are constants of the code; a computed one must not grow a table."""

EVENT_BURST: Final = 20
"""Lines of one limited event per period: enough to see a pattern, too few to fill a disk."""

EVENT_PERIOD_S: Final = 1.0
"""Seconds after which a limited event may be logged again."""

MAX_SERIES: Final = 1000
"""Label combinations of one metric; further ones are folded into "other". The whole worker aims at 1,500 series."""

MAX_FIELD_NAMES: Final = 1024
"""Names of log fields of which is remembered whether they are secret; the code has about a hundred."""
