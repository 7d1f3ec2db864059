"""Asking somebody else before a device is created: within a time, and no answer is a no."""

import json
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from gateway.identity.limits import WEBHOOK_TIMEOUT_S
from gateway.identity.reasons import IdentityRefused, Refusal


class _NoRedirects(HTTPRedirectHandler):
    """The address is the operator's word, not that of whoever answers there."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None


def ask_webhook(url: str, device: dict[str, Any]) -> None:
    """Posts a device as JSON. 2xx admits it, 4xx does not. Waits; called outside the event loop.

    Args:
        url: Where.
        device: What is known of it.

    Raises:
        IdentityRefused: It is not admitted, or nobody said so in time.
    """
    request = Request(  # noqa: S310  check_policy took http and https only
        url, json.dumps(device).encode(), {"Content-Type": "application/json", "User-Agent": "dtls-gateway"}
    )
    name = device["device"]
    try:
        with build_opener(_NoRedirects).open(request, timeout=WEBHOOK_TIMEOUT_S):
            return
    except HTTPError as error:
        error.close()
        if 400 <= error.code < 500:
            raise IdentityRefused(
                Refusal.PROVISIONING_DENIED,
                f"the webhook of the trust anchor does not admit device '{name}' (HTTP {error.code}); let it admit the "
                f"device, or add it with `gateway device add {name}`",
            ) from error
        problem = f"HTTP {error.code}"
    except (URLError, OSError, ValueError) as error:
        problem = str(getattr(error, "reason", error)) or type(error).__name__
    raise IdentityRefused(
        Refusal.PROVISIONING_UNAVAILABLE,
        f"the webhook of the trust anchor did not say whether device '{name}' is admitted ({problem}); the device "
        f"tries again by itself: see that the webhook answers within {WEBHOOK_TIMEOUT_S:g} seconds",
    )
