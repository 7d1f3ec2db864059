"""dtls-gateway: the cloud ingress that constrained devices reach over CoAP and DTLS 1.2."""

__version__ = "0.1.0.dev0"
