"""The registry: whether it can be had, and the CAs that it trusts. The only module here that knows the registry."""

from gateway.doctor.certificates import end_of
from gateway.doctor.findings import Finding, ok, problem, warning
from gateway.pki import PkiError, parse_certificates
from gateway.registry import RegistryError, open_registry


def registry(url: str, now: float) -> list[Finding]:
    """Opens it as the gateway does, which refuses a schema that this release does not know.

    Args:
        url: Of the configuration.
        now: Seconds since the epoch.
    """
    try:
        with open_registry(url) as opened:
            counts, records = opened.counts(), opened.trust_anchors()
    except RegistryError as error:
        return [problem("registry", str(error), "correct [registry] url, or what the text names")]
    found = [
        ok("registry", f"{counts.devices} devices, {counts.trust_anchors} trusted CAs; the schema is this release's")
    ]
    for record in records:
        untrust = f"`gateway ca untrust {record.id}`"
        try:
            certificate = parse_certificates(record.certificate)[0]
        except PkiError:
            found.append(problem("trusted CA", f"{record.id} is no certificate that can be read", untrust))
            continue
        remedy = f"renew the CA and trust the new certificate with `gateway ca trust FILE`; or {untrust}"
        found.append(end_of("trusted CA", record.id[:16], certificate, now, remedy))
    if not counts.devices and not records:
        found.append(
            warning(
                "registry",
                "no device and no trusted CA: nobody can connect",
                "`gateway device add` or `gateway ca trust`",
            )
        )
    return found
