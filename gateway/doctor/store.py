"""The registry: whether it can be had, and the CAs that it trusts. The only module here that knows the registry."""

from gateway.doctor.certificates import end_of
from gateway.doctor.findings import Finding, ok, problem, warning
from gateway.pki import PkiError, parse_certificates
from gateway.registry import KeyStatus, Registry, RegistryError, Secrets, open_registry


def registry(url: str, now: float, master_key: str | None = None, derivation_key: str | None = None) -> list[Finding]:
    """Opens it as the gateway does, which refuses a schema that this release does not know.

    Args:
        url: Of the configuration.
        now: Seconds since the epoch.
        master_key: Of the configuration.
        derivation_key: Of the configuration.
    """
    try:
        with open_registry(url, secrets=Secrets(master_key, derivation_key)) as opened:
            counts, records, keys = opened.counts(), opened.trust_anchors(), opened.key_status()
            try:
                opened.check_keys()
            except RegistryError as error:
                found = [problem("device keys", str(error), "correct [registry] master_key or derivation_key")]
            else:
                found = _rest(keys)
            found += _writing(opened)
    except RegistryError as error:
        return [problem("registry", str(error), "correct [registry] url, or what the text names")]
    text = f"{counts.devices} devices, {counts.trust_anchors} trusted CAs; the schema is this release's"
    found.insert(0, ok("registry", text))
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


def _writing(opened: Registry) -> list[Finding]:
    """What a gateway that only reads cannot do, though devices that are known connect."""
    try:
        opened.check_writable()
    except RegistryError as error:
        lost = "no device comes by itself, no rotation of a key ends, nobody is noted as seen"
        return [problem("registry", str(error), f"let the gateway's user write there; without that {lost}")]
    return []


def _rest(keys: KeyStatus) -> list[Finding]:
    """How device keys rest, where there is a master key."""
    if keys.opens is None:
        return []
    if keys.plain:
        text = f"there is a master key, and {keys.plain} device keys are not sealed under it"
        return [warning("device keys", text, "`gateway keys rotate`")]
    return [ok("device keys", "all that are stored are sealed, and the master key opens them")]
