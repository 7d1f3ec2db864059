"""What is said to mypyc about a class, without needing its package at run time.

A module of its own that is never compiled: mypyc compiles no branch that mypy does not take.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr as mypyc_attr
else:

    def mypyc_attr(**_):
        """Says it to nobody."""
        return lambda cls: cls
