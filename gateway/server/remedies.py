"""What an operator does about a failed handshake, in one sentence each, and as a command where one does it.

docs/operations.md says more. There is a command only where pasting it without a thought can be taken back and lets
nobody in who is not meant: none that deletes a device or lets another factory speak for it.
"""

import shlex
from typing import Final

from gateway.dtls import FailureReason as R
from gateway.model import DEFAULT_TENANT
from gateway.pki import is_device_name

_CLIENT = "update the device's DTLS stack, or send us a capture"
_ISSUE = "issue the device a certificate as docs/dtls.md describes it"
_CLOCK = "issue a new certificate, or correct the clock of the gateway or of the CA"
_ENABLE = "`gateway device enable ID`, if the device may return"
_PATH = "look for loss and firewalls on the path, lower [dtls] mtu, for slow radio raise [dtls] retransmit_initial"
_STORM = "if it lasts: see which networks begin handshakes and end none; a fleet that returns tries again by itself"

REMEDY_FOR: Final[dict[R, str]] = {
    R.DECODE_ERROR: _CLIENT,
    R.UNEXPECTED_MESSAGE: _CLIENT,
    R.ILLEGAL_PARAMETER: _CLIENT,
    R.HANDSHAKE_TOO_LARGE: "give the device a shorter certificate chain",
    R.PROTOCOL_VERSION: "switch DTLS 1.2 on in the client",
    R.NO_SHARED_SUITE: "switch a suite of docs/dtls.md on in the client, or here what the hint names",
    R.NO_SHARED_GROUP: "switch P-256 on in the client, and the curve of our certificate if that is another",
    R.NO_SHARED_SIGNATURE_ALGORITHM: "switch ECDSA with SHA-256 on in the client, or add a server certificate that it "
    "can verify: [[dtls.certificates]]",
    R.NO_SHARED_CERTIFICATE_TYPE: "give the device an X.509 certificate, or a raw public key and its stack the type",
    R.RESUMPTION_MISMATCH: "nothing, if the device makes a full handshake next; else update its DTLS stack",
    R.UNKNOWN_PUBLIC_KEY: "`gateway device add ID --public-key FILE`, or correct the device",
    R.NO_EXTENDED_MASTER_SECRET: "switch the extended master secret on in the client, or do not require it: [dtls] "
    "require_extended_master_secret",
    R.INSECURE_RENEGOTIATION: "a broken or hostile client: update its DTLS stack",
    R.UNSUPPORTED_EXTENSION: "the simulated device talks to something else than the gateway",
    R.UNKNOWN_IDENTITY: "`gateway device add ID --psk-identity TEXT --psk-file FILE`, or correct the device",
    R.WRONG_KEY: "compare the keys (hex and text are often mixed up); `gateway device import FILE --on-conflict "
    "update` puts another one on record, `gateway psk rotate ID` gives the device its next one",
    R.NO_CERTIFICATE: "give the device a certificate, or let it offer a PSK suite if it has a key",
    R.BAD_CERTIFICATE: _ISSUE,
    R.CERTIFICATE_EXPIRED: _CLOCK,
    R.CERTIFICATE_NOT_YET_VALID: _CLOCK,
    R.CERTIFICATE_REVOKED: "give the device a new key and issue a certificate for it",
    R.CERTIFICATE_BANNED: "if the ban was a mistake: `gateway ca unban FINGERPRINT`; else a new key and certificate",
    R.REVOCATION_UNKNOWN: "import the CA's current list with `gateway ca crl import FILE`, or let the anchor "
    "fail open: `gateway ca trust --crl fail_open FILE`",
    R.UNKNOWN_ROOT: "`gateway ca trust FILE`, if you do trust that CA",
    R.MISSING_INTERMEDIATE: "let the device send it, or `gateway ca trust` a file with root and intermediate",
    R.CA_AS_LEAF: "issue the device a certificate of its own",
    R.WRONG_KEY_USAGE: "issue one with digitalSignature and clientAuth, or without these extensions",
    R.WEAK_KEY: "make the device a key of a kind that docs/dtls.md lists",
    R.CHAIN_TOO_LONG: "shorten the chain to at most 4 intermediates",
    R.NO_DEVICE_NAME: "issue one with a name: SAN URI, SAN DNS, common name or serial number",
    R.POSSESSION_NOT_PROVEN: "give the device the key that belongs to its certificate; else the certificate was stolen",
    R.NOT_PROVISIONED: "`gateway device add ID`, with --certificate for a device with a key; or `gateway ca trust "
    "--auto-provision FILE`",
    R.DEVICE_DISABLED: _ENABLE,
    R.DEVICE_PENDING: "approve it with `gateway device enable ID`; list those that wait with `gateway device list "
    "--status pending`",
    R.DEVICE_QUARANTINED: "`gateway device show ID` says why; let it in with `gateway device enable ID`",
    R.TENANT_DISABLED: "`gateway tenant set ID --enable`",
    R.NO_TENANT: "give the tenant the server name that the device sends (`gateway tenant set ID --sni NAME`), or issue "
    "a certificate with the tenant as its organization",
    R.CREDENTIAL_EXPIRED: "give the device its new key; if that is lost, another one: `gateway psk add ID`",
    R.PSK_ENDED: "give the device a certificate; to go back: `gateway fleet migrate TENANT --off`",
    R.PROVISIONING_DENIED: "let the webhook admit the device, or add it with `gateway device add ID`",
    R.PROVISIONING_UNAVAILABLE: "see that the webhook of the trust anchor answers",
    R.CREDENTIAL_REVOKED: "give the device a new credential",
    R.OTHER_ISSUER: "compare the fingerprint with the device; only if it is the device: `gateway device add ID "
    "--certificate`",
    R.REGISTRY_FULL: "delete devices; if you did not expect that many, a factory CA's key may have leaked",
    R.REGISTRY_UNAVAILABLE: "see /readyz, the disk, and the permissions of the database's folder",
    R.FINISHED_MISMATCH: "update the device's DTLS stack; somebody may change messages on the way",
    R.TIMEOUT: _PATH,
    R.FRAGMENT_TIMEOUT: "smaller fragments or a shorter chain in the device; a firewall may drop large packets",
    R.COOKIE_LOOP: "send each device to one gateway always, look for a middlebox that changes ports or hellos",
    R.PEER_ALERT: "look at the device's own log; unknown_ca and bad_certificate mean that it does not accept our "
    "certificate",
    R.SUPERSEDED: "nothing, if the device restarted; else raise its time-out",
    R.EVICTED: _STORM,
    R.BUFFERS_FULL: _STORM,
    R.TOO_MANY_WAITING: "look at gateway_registry_lookup_duration_seconds, and for a storm of wrong keys",
    R.SHUTDOWN: "nothing: the device tries again",
    R.INTERNAL_ERROR: "see identity.failed in the log, and please report it",
}


def command_for(reason: R, *, device: str | None, tenant: str | None, identity: str | None) -> str | None:
    """The command that lets the device in if the operator wants that; FILE and ID are for him to fill in.

    Args:
        reason: Why it was refused.
        device: The device of the registry that it named.
        tenant: That device's.
        identity: What it presented: a PSK identity, or the name in its certificate.
    """
    named = identity if identity is not None and is_device_name(identity) else None
    match reason:
        case R.UNKNOWN_IDENTITY if identity is not None and not identity.startswith("0x"):
            words = ["device", "add", named or "ID", "--psk-identity", identity, "--psk-file", "FILE"]
        case R.UNKNOWN_PUBLIC_KEY:
            words = ["device", "add", "ID", "--public-key", "FILE"]
        case R.NOT_PROVISIONED if device is not None:
            words = ["device", "add", device, "--certificate"]
        case R.NOT_PROVISIONED if named is not None:
            words = ["device", "add", named]
        case R.DEVICE_DISABLED if device is not None:
            words = ["device", "enable", device]
        case R.UNKNOWN_ROOT | R.MISSING_INTERMEDIATE:
            words = ["ca", "trust", "FILE"]
        case _:
            return None
    if tenant not in (None, DEFAULT_TENANT):
        words += ["--tenant", tenant]
    return shlex.join(["gateway", *words])
