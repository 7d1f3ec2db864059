"""CBOR of devices (RFC 8949), without what turns data into more than data.

Tags are not interpreted: a tagged value is a `CBORTag`. So nothing that a device sends becomes a regular expression, a
number of thousands of digits or a list that contains itself.
"""

import io
from collections.abc import Callable
from typing import Any, Final

import cbor2

from gateway.handlers.limits import CBOR_DEPTH

# All tags that the library has an opinion about, and those that it may come to have one about.
_TAGS: Final = (*range(64), 100, *range(256, 300), 1004, 1040, 43000)
_SELF_DESCRIBED: Final = 55799


def decode_cbor(data: bytes) -> Any:
    """Return the one value of some bytes: None, bool, int, float, str, bytes, list, dict, or a `cbor2.CBORTag`.

    Raises:
        ValueError: It is not CBOR, nested too deeply, has a key twice, or something behind it.
    """
    stream = io.BytesIO(data)
    try:
        value = cbor2.load(stream, semantic_decoders=_UNTOUCHED, max_depth=CBOR_DEPTH, allow_duplicate_keys=False)
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"not CBOR: {error}") from None
    if stream.tell() != len(data):
        raise ValueError("not CBOR: there is something behind it")
    return value


def encode_cbor(value: object) -> bytes:
    """Return a value as CBOR.

    Raises:
        ValueError: It cannot be written as CBOR.
    """
    try:
        return cbor2.dumps(value)
    except (cbor2.CBORError, TypeError, RecursionError) as error:
        raise ValueError(f"cannot be written as CBOR: {error}") from None


def _untouched(tag: int) -> Callable[..., cbor2.CBORTag]:
    def keep(value: Any, *_: object) -> cbor2.CBORTag:
        return cbor2.CBORTag(tag, value)

    return keep


def _itself(value: Any, *_: object) -> Any:
    return value


# RFC 8949 section 3.4.6: the last one says that this is CBOR and nothing else.
_UNTOUCHED: Final[dict[int, Any]] = {tag: _untouched(tag) for tag in _TAGS} | {_SELF_DESCRIBED: _itself}
