"""`/.well-known/core`: what there is, for devices that ask (RFC 6690)."""

from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from gateway.coap import Code
from gateway.handlers.routing import Route

WELL_KNOWN: Final = (".well-known", "core")

_UNESCAPED: Final = "/!$&'()*+,;=:@"
_LISTS: Final = frozenset({"rt", "if", "rel", "ct"})
"""Attributes whose value is a list of words: a question for one of them is answered by each."""


class Link:
    """One resource.

    Attributes:
        target: Its path as a URI writes it.
        attributes: Value by name.
    """

    __slots__ = ("attributes", "target")

    def __init__(self, target: str, attributes: dict[str, str]) -> None:
        self.target = target
        self.attributes = attributes

    def __str__(self) -> str:
        return f"<{self.target}>" + "".join([f";{_attribute(*each)}" for each in self.attributes.items()])

    def matches(self, name: str, wanted: str) -> bool:
        """Whether the link has this attribute with this value, or with one that begins so if it ends in an asterisk.

        RFC 6690 section 4.1; "href" is the target.
        """
        value = self.target if name == "href" else self.attributes.get(name)
        if value is None:
            return False
        candidates = value.split() if name in _LISTS else [value]
        if wanted.endswith("*"):
            return any(candidate.startswith(wanted[:-1]) for candidate in candidates)
        return wanted in candidates


def links_of(routes: Iterable[Route]) -> list[Link]:
    """The links to the routes, those of one path together.

    A template with a parameter is no resource, and what is beneath it is known to the handler only.
    """
    links: dict[str, Link] = {}
    for route in routes:
        if route.names or not route.terms.listed:
            continue
        target = quote(route.template, safe=_UNESCAPED)
        link = links.setdefault(target, Link(target, {}))
        for name, value in route.terms.attributes.items():
            link.attributes.setdefault(name, value)
        if route.observable:
            link.attributes.setdefault("obs", "")
        if route.terms.produces is not None and route.method in (Code.GET, Code.FETCH):
            link.attributes.setdefault("ct", " ".join(map(str, route.terms.produces)))
    return list(links.values())


def link_format(links: Iterable[Link], queries: Iterable[str]) -> str:
    """The links that a request asks for, as application/link-format.

    Args:
        links: All there are.
        queries: Its Uri-Query options, such as "rt=temperature*"; each narrows the choice.
    """
    wanted = [query.partition("=")[::2] for query in queries]
    return ",".join([str(link) for link in links if all(link.matches(name, value) for name, value in wanted)])


def _attribute(name: str, value: str) -> str:
    if name == "obs":  # RFC 7641 section 6: a mark without a value
        return name
    # RFC 7252 section 7.2.1: one content format stands without quotes.
    return f"{name}={value}" if name == "ct" and " " not in value else f'{name}="{value}"'
