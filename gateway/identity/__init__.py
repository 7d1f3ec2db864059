"""From a proven credential to a device: the one identity path of the gateway (DESIGN D6)."""

from gateway.identity.crls import import_crl
from gateway.identity.reasons import IdentityRefused, Refusal
from gateway.identity.remembering import remember
from gateway.identity.service import IdentityService, PskAnswer
from gateway.identity.trusting import trust_ca

__all__ = ["IdentityRefused", "IdentityService", "PskAnswer", "Refusal", "import_crl", "remember", "trust_ca"]
