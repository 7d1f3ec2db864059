"""Every limit of the doctor: number, unit, reason."""

from typing import Final

DAY_S: Final = 86_400.0

URGENT_S: Final = 7 * DAY_S
"""Seconds before the end of a certificate from which on it is a problem."""

CLOCK_SLACK_S: Final = 300.0
"""Seconds that a file may be from the future: file servers have clocks of their own."""

OPEN_FILES: Final = 256
"""Files that a gateway has open at most: the UDP socket, the registry, 64 connections of the admin port, and room."""

MEMORY: Final = 1024 * 1024 * 1024
"""Bytes of address space below which a gateway with some thousand devices and its libraries does not fit."""

HANDSHAKE_S: Final = 10.0
"""Seconds that a handshake over the loopback address may take; it takes a few milliseconds."""

ASK_S: Final = 3.0
"""Seconds that whoever has the admin port may take to show that it is a gateway."""

MAX_ANSWER: Final = 4096
"""Bytes read of its answer."""
