"""What verifying a device's chain costs: against one anchor and 500, cold and behind a known intermediate.

    python -m tests.bench.chains [--leaves 500]

Microseconds of one thread, least and median over the devices; first one bare check of a P-256 signature, the least that
a certificate which nobody has seen can cost. A chain is a device with the full profile below an intermediate below a
root, all on P-256. Last a revocation list of 100,000 entries: what it takes to read, to hold and to ask.
"""

import argparse
import tracemalloc
from collections.abc import Callable, Sequence
from datetime import datetime
from time import perf_counter
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.pki import CrlPolicy, RevocationList, Revocations, TrustAnchor, TrustStore, read_crl
from gateway.server.garbage import tune_garbage_collector
from tests.pki.factory import DAY, NOW, Made, aki, ca, crl, eku, key_usage, make, name, san

ANCHORS = 500
BANS = 10_000
ENTRIES = 100_000
WARM_UP = 5
BEGIN = NOW - 900 * DAY

ROOT = ca("Root", None, key_usage("key_cert_sign", "crl_sign"), begin=BEGIN)
KEY = ec.generate_private_key(ec.SECP256R1())

Chain = tuple[bytes, bytes]


def main(leaves: int) -> None:
    line = issuing(0)
    chains = [device(number, line) for number in range(leaves)]
    new_lines = [device(number, issuing(number)) for number in range(1, 1 + leaves // 5)]
    expired = [device(number, line, NOW - DAY) for number in range(leaves)]
    others = [TrustAnchor.of(ca(f"Factory {number}").certificate) for number in range(ANCHORS - 1)]

    tune_garbage_collector()  # as `gateway serve` does
    print(f"{'microseconds':64} {'least':>8} {'median':>8}")
    show_signature(line, chains)
    for more in ((), others):
        store, anchors = trust(*more), f"{1 + len(more)} anchors"
        show(f"{anchors}: new intermediate, new device", store, new_lines)
        show(f"{anchors}: known intermediate, new device", store, chains)
        show(f"{anchors}: a device that comes back", store, chains)
    show("the same device, expired within the grace", trust(expired_grace=30 * DAY), expired)
    banned = trust().with_revocations(Revocations(), [f"{number:064x}" for number in range(BANS)])
    show(f"known intermediate, new device, {BANS} bans", banned, chains)
    lists = Revocations([long_list(line), read_crl(crl(ROOT), [ROOT.certificate], NOW)])
    closed = trust(crl=CrlPolicy.FAIL_CLOSED).with_revocations(lists, [])
    show(f"known intermediate, new device, fail_closed, {ENTRIES} revoked", closed, chains)


def issuing(number: int) -> Made:
    return ca(f"Issuing {number}", ROOT, key_usage("key_cert_sign", "crl_sign"), begin=BEGIN)


def device(number: int, issuer: Made, end: datetime = NOW + 365 * DAY) -> Chain:
    leaf = make(
        name(f"dev{number}", "Works"),
        issuer,
        (x509.BasicConstraints(ca=False, path_length=None), True),
        key_usage("digital_signature"),
        eku(ExtendedKeyUsageOID.CLIENT_AUTH),
        aki(issuer),
        san(x509.UniformResourceIdentifier(f"urn:dev:ops:32473-{number}")),
        key=KEY,
        begin=BEGIN,
        end=end,
    )
    return leaf.der, issuer.der


def trust(*more: TrustAnchor, **policy: Any) -> TrustStore:
    return TrustStore([TrustAnchor.of(ROOT.certificate, **policy), *more])


def show(what: str, store: TrustStore, chains: Sequence[Chain]) -> None:
    measured(what, lambda each: store.verify(each, NOW), chains)


def show_signature(issuer: Made, chains: Sequence[Chain]) -> None:
    public = issuer.key.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    read = [x509.load_der_x509_certificate(leaf) for leaf, _ in chains]
    signed = [(each.signature, each.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256())) for each in read]
    measured("one bare signature", lambda each: public.verify(*each), signed)


def measured(what: str, call: Callable[[Any], object], items: Sequence[object]) -> None:
    times = []
    for item in items:
        begin = perf_counter()
        call(item)
        times.append((perf_counter() - begin) * 1e6)
    times = sorted(times[WARM_UP:])
    print(f"{what:64} {times[0]:8.1f} {times[len(times) // 2]:8.1f}")


def long_list(issuer: Made) -> RevocationList:
    revoked = [
        x509.RevokedCertificateBuilder().serial_number(serial << 90).revocation_date(NOW - DAY).build()
        for serial in range(1, ENTRIES + 1)
    ]
    # Not by add_revoked_certificate, which copies them all each time.
    builder = x509.CertificateRevocationListBuilder(
        issuer.certificate.subject, NOW - DAY, NOW + DAY, revoked_certificates=revoked
    )
    der = builder.sign(issuer.key, hashes.SHA256()).public_bytes(Encoding.DER)
    begin = perf_counter()
    read_crl(der, [issuer.certificate], NOW)
    seconds = perf_counter() - begin
    tracemalloc.start()
    made = read_crl(der, [issuer.certificate], NOW)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(
        f"{len(made)} revoked: {len(der)} bytes as DER, {seconds:.2f} s to read, {held} bytes held, {peak} at the peak"
    )
    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--leaves", type=int, default=500, help="devices of each measurement")
    main(parser.parse_args().leaves)
