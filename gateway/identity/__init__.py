"""From a proven credential to a device: the one identity path of the gateway (DESIGN D6)."""

from gateway.identity.admission import Admission, would_admit
from gateway.identity.crls import import_crl
from gateway.identity.possession import check_possession
from gateway.identity.reasons import IdentityRefused, Refusal
from gateway.identity.rehearsal import rehearse
from gateway.identity.remembering import remember
from gateway.identity.service import IdentityService, PskAnswer
from gateway.identity.trusting import anchors_of, trust_ca
from gateway.identity.web import WebAnswer, WebError, ask_web, in_background

__all__ = [
    "Admission",
    "IdentityRefused",
    "IdentityService",
    "PskAnswer",
    "Refusal",
    "WebAnswer",
    "WebError",
    "anchors_of",
    "ask_web",
    "check_possession",
    "import_crl",
    "in_background",
    "rehearse",
    "remember",
    "trust_ca",
    "would_admit",
]
