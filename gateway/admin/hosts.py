"""Under which names the admin port answers.

A web page can have its own name lead to an address that only the operator's browser reaches (DNS rebinding). To the
browser the answer comes from the page's own server then, and the page may read it. What the page cannot change is that
its name stands in Host.
"""

import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final

from gateway.admin.limits import MAX_SHOWN_HOST

_HOST: Final = re.compile(r"(?:\[(?P<address>[^\]]*)\]|(?P<name>[^:]*))(?::\d*)?", re.ASCII)


class Hosts:
    """The names that are ours."""

    def __init__(self, names: Iterable[str]) -> None:
        """Takes them, each with or without a port, which does not count."""
        self._names = frozenset(filter(None, map(_name, names)))

    def refusal(self, host: str | None) -> str | None:
        """Why a request is not answered, with what to do; None for one that is.

        Args:
            host: What it has as Host; None for nothing, which no browser does.
        """
        if host is None or self._is_ours(host):
            return None
        shown = (_name(host) or host)[:MAX_SHOWN_HOST]
        return f"this port does not go by the name {shown!r}: add it to [admin] hosts, or ask by an IP address"

    def _is_ours(self, host: str) -> bool:
        name = _name(host)
        # What is no address to us is none to a browser, and a browser asks no DNS about an address, nor about localhost
        # and what is below it (RFC 6761 section 6.3).
        return name in self._names or name == "localhost" or name.endswith(".localhost") or _is_address(name)


def _name(host: str) -> str:
    """Without port, brackets and the dot of the root, in lower case; empty for what is no Host."""
    match = _HOST.fullmatch(host)
    if match is None:
        return ""
    if match["address"] is not None:
        return match["address"] if _is_address(match["address"]) else ""
    return match["name"].removesuffix(".").lower()


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
