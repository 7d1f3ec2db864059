"""What the gateway says of the dates of its own certificates, at the start, at a reload, and before either."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.config import DtlsSettings
from gateway.server import certificate_doubts, load_certificates
from tests.pki.factory import Made, ca, make, san
from tests.server.several import Several
from tests.server.test_reloading import changing

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
AT = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
ROOT = ca("Root")


def write(folder: Path, *chain: Made) -> DtlsSettings:
    certificate, key = folder / "server.pem", folder / "server.key"
    certificate.write_bytes(b"".join(made.certificate.public_bytes(Encoding.PEM) for made in chain))
    key.write_bytes(chain[0].key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key.chmod(0o600)
    return DtlsSettings(certificate=certificate, private_key=key)


def server(begin: datetime, end: datetime) -> Made:
    return make("server", ROOT, san(x509.DNSName("localhost")), begin=begin, end=end)


@pytest.mark.parametrize(
    ("begin", "end", "state"),
    [
        (AT - 400 * DAY, AT + 31 * DAY, None),
        (AT - 400 * DAY, AT + 29 * DAY, "ends_soon"),
        # RFC 5280 section 4.1.2.5: both ends belong to it.
        (AT - 400 * DAY, AT, "ends_soon"),
        (AT - 400 * DAY, AT - SECOND, "expired"),
        (AT, AT + 400 * DAY, None),
        (AT + SECOND, AT + 400 * DAY, "not_yet_valid"),
        # A week is all that some CAs give.
        (AT - 4 * DAY, AT + 3 * DAY, None),
        (AT - 5 * DAY, AT + 2 * DAY, "ends_soon"),
    ],
)
def test_when_something_is_said(tmp_path: Path, begin: datetime, end: datetime, state: str | None) -> None:
    dtls = write(tmp_path, server(begin, end))
    found = list(certificate_doubts(dtls, load_certificates(dtls), AT.timestamp() + 0.5))
    assert [each.state.value for each in found] == ([state] if state is not None else [])
    for each in found:
        assert each.not_before == begin.strftime("%Y-%m-%dT%H:%M:%SZ")
        assert each.not_after == end.strftime("%Y-%m-%dT%H:%M:%SZ")
        assert str(tmp_path / "server.pem") in str(each)


def test_a_ca_of_the_chain_is_named(tmp_path: Path) -> None:
    old = ca("Line", ROOT, end=AT - DAY)
    dtls = write(tmp_path, make("server", old, san(x509.DNSName("localhost"))), old)
    [doubt] = certificate_doubts(dtls, load_certificates(dtls), AT.timestamp())
    assert (doubt.certificate, doubt.state) == ("'CN=Line'", "expired")
    assert "'CN=Root'" in doubt.hint


def outdated(folder: Path) -> DtlsSettings:
    """In the place of what `prepare` made."""
    now = datetime.now(UTC)
    return write(folder, server(now - 400 * DAY, now - DAY))


@pytest.mark.asyncio
async def test_the_log_says_it_at_the_start_and_at_each_reload(tmp_path: Path) -> None:
    async with changing(tmp_path) as gateway:
        assert gateway.events("server.certificate_doubtful") == []
        outdated(tmp_path)
        await gateway.reload()
        [line] = gateway.events("server.certificate_doubtful")
        await gateway.reload()
        assert gateway.events("server.certificate_doubtful") == [line, line]
    assert (line["log_level"], line["state"], line["certificate"]) == ("warning", "expired", "'CN=server'")
    assert line["file"] == str(tmp_path / "server.pem")
    assert line["not_after"] < datetime.now(UTC).isoformat()


@pytest.mark.asyncio
async def test_several_workers_say_it_once(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    dtls = outdated(old)
    with Several(tmp_path, dtls__certificate=str(dtls.certificate), dtls__private_key=str(dtls.private_key)) as gateway:
        found = gateway.log.lines("server.certificate_doubtful")
    assert [line["state"] for line in found] == ["expired"]
