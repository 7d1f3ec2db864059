"""Asking somebody else before a device is created: within a time, and no answer is a no."""

import json
from typing import Any

from gateway.identity.limits import WEBHOOK_TIMEOUT_S
from gateway.identity.reasons import IdentityRefused, Refusal
from gateway.identity.web import WebError, ask_web


def ask_webhook(url: str, device: dict[str, Any]) -> None:
    """Posts a device as JSON. 2xx admits it, 4xx does not. Waits; called outside the event loop.

    Args:
        url: Where.
        device: What is known of it.

    Raises:
        IdentityRefused: It is not admitted, or nobody said so in time.
    """
    name = device["device"]
    try:
        status = ask_web(url, limit_s=WEBHOOK_TIMEOUT_S, max_bytes=0, json=json.dumps(device).encode()).status
        if 200 <= status < 300:
            return
        problem = f"HTTP {status}"
    except WebError as error:
        status, problem = 0, str(error)
    if 400 <= status < 500:
        raise IdentityRefused(
            Refusal.PROVISIONING_DENIED,
            f"the webhook of the trust anchor does not admit device '{name}' (HTTP {status}); let it admit the "
            f"device, or add it with `gateway device add {name}`",
        )
    raise IdentityRefused(
        Refusal.PROVISIONING_UNAVAILABLE,
        f"the webhook of the trust anchor did not say whether device '{name}' is admitted ({problem}); the device "
        f"tries again by itself: see that the webhook answers within {WEBHOOK_TIMEOUT_S:g} seconds",
    )
