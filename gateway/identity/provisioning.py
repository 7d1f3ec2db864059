"""Devices that nobody registered, with a good certificate: who is asked, and what is said when they may not come."""

from gateway.identity.reasons import IdentityRefused, Refusal
from gateway.identity.texts import add_command, not_active
from gateway.identity.webhook import ask_webhook
from gateway.model import Device
from gateway.pki import VerifiedChain
from gateway.registry import (
    AnchorRecord,
    CachedReads,
    CertificateCredential,
    Conflict,
    InvalidValue,
    LimitReached,
    NotActive,
    NotFound,
    Provision,
    Steps,
    wait_for,
)


def provision(
    reads: CachedReads, tenant_id: str, verified: VerifiedChain, anchor: AnchorRecord
) -> Steps[CertificateCredential]:
    """Finds or makes the device of a certificate that no credential of the registry goes with.

    Raises:
        IdentityRefused: It may not come by itself.
        RegistryError: The registry cannot be used.
    """
    name, policy = verified.device_name, anchor.policy
    device = Device(name, tenant_id)
    serial = f"{verified.serial:x}"
    if policy.webhook and policy.provision is not Provision.OFF:
        asked = {
            "tenant": tenant_id,
            "device": name,
            "trust_anchor": anchor.id,
            "serial": serial,
            "fingerprint": verified.fingerprint,
            "not_after": verified.not_after.timestamp(),
        }
        yield from wait_for(lambda: ask_webhook(policy.webhook, asked))
    try:
        return (yield from reads.provision_device(tenant_id, name, anchor_id=anchor.id, policy=policy, serial=serial))
    except NotFound as error:
        raise IdentityRefused(
            Refusal.NOT_PROVISIONED,
            f"device '{name}' has a valid certificate, but is not in the registry; add it with "
            f"`{add_command(device)}`, or let trust anchor {anchor.id[:16]}... add devices with "
            "`gateway ca trust --auto-provision FILE`",
        ) from error
    except Conflict as error:
        raise IdentityRefused(
            Refusal.NOT_PROVISIONED,
            f"device '{name}' has a valid certificate, but the registry allows it only its key; allow the certificate "
            f"with `{add_command(device)} --certificate`",
            device,
        ) from error
    except NotActive as error:
        raise not_active(error.device) from error
    except LimitReached as error:
        raise IdentityRefused(Refusal.REGISTRY_FULL, str(error)) from error
    except InvalidValue as error:
        raise IdentityRefused(Refusal.NO_IDENTITY, str(error)) from error
