"""The messages of a run of `coap-client -v 7`, as it writes them down."""

import re
from dataclasses import dataclass

from tests.interop.libcoap import Answer

_LINE = re.compile(
    r"^v:1 t:(CON|NON|ACK|RST) c:(\S+) i:([0-9a-f]{4}) \{([0-9a-f]*)\} \[ (.*?) ?\](?: ::.*)?$", re.MULTILINE
)
_RESPONSE = re.compile(r"[2-5]\.\d\d")


@dataclass(frozen=True, slots=True)
class Line:
    """One message.

    Attributes:
        type: "CON", "NON", "ACK" or "RST".
        code: "GET" and so on, "2.05" and so on, "0.00".
        message_id: Four hex digits.
        token: Hex digits.
        options: "Uri-Path:test" and so on.
    """

    type: str
    code: str
    message_id: str
    token: str
    options: tuple[str, ...]

    @property
    def is_response(self) -> bool:
        return _RESPONSE.fullmatch(self.code) is not None

    def values(self, option: str) -> list[str]:
        """The values of an option."""
        return [value for name, _, value in (each.partition(":") for each in self.options) if name == option]


def lines_of(answer: Answer) -> list[Line]:
    """All messages in order, both ways, each once.

    The client writes some down twice in a row: a request before and after the last of its options, and the last block
    of an answer once more with the whole body.
    """
    lines: list[Line] = []
    for type, code, message_id, token, options in _LINE.findall(answer.transcript):
        line = Line(type, code, message_id, token, tuple(options.split(", ")) if options else ())
        if lines and (lines[-1].type, lines[-1].code, lines[-1].message_id) == (type, code, message_id):
            lines.pop()
        lines.append(line)
    return lines


def exchange(answer: Answer) -> tuple[Line, Line]:
    """The first request, and the last response."""
    lines = lines_of(answer)
    requests = [line for line in lines if not line.is_response and line.code != "0.00"]
    responses = [line for line in lines if line.is_response]
    assert requests, answer.transcript
    assert responses, answer.transcript
    return requests[0], responses[-1]
