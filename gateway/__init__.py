"""dtls-gateway: the cloud ingress that constrained devices reach over CoAP and DTLS 1.2."""

from importlib.util import find_spec

__version__ = "0.1.0.dev0"


def is_compiled() -> bool:
    """Whether the data path runs as machine code (hatch_build.py) and not as the sources beside it."""
    return find_spec("gateway__mypyc") is not None
