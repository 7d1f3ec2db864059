"""Master keys, sealing and derivation, against published vectors and openssl."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.registry import InvalidValue, LocalKey, Secrets, Unavailable, create_master_key, load_master_key
from gateway.registry.master_keys import PROVIDER_GROUP
from gateway.registry.secrets import StoredDataKey, derivation_info
from tests.interop import peers

HEX = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"
ROW = b"tenant\0credential\0identity"


def key_file(folder: Path, text: str = HEX, mode: int = 0o600) -> Path:
    path = folder / "master.key"
    path.write_text(text)
    path.chmod(mode)
    return path


# Where master keys come from.


def same_key(spec: str) -> bool:
    """Whether it is the key of HEX, told by what that one wrapped."""
    return load_master_key(spec).unwrap(LocalKey("test", bytes.fromhex(HEX)).wrap(bytes(32))) == bytes(32)


@pytest.mark.parametrize("text", [HEX, HEX.upper(), f"{HEX}\n", f"  {HEX}\r\n"])
def test_a_key_out_of_a_file(tmp_path: Path, text: str) -> None:
    assert same_key(f"file:{key_file(tmp_path, text)}")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620])
def test_a_file_that_others_can_open_is_refused(tmp_path: Path, mode: int) -> None:
    path = key_file(tmp_path, mode=mode)
    with pytest.raises(Unavailable, match=f"chmod 600 {path}"):
        load_master_key(f"file:{path}")


def test_a_key_out_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_KEY", HEX)
    assert same_key("env:FLEET_KEY")
    monkeypatch.delenv("FLEET_KEY")
    with pytest.raises(Unavailable, match="FLEET_KEY"):
        load_master_key("env:FLEET_KEY")


def test_a_key_out_of_a_systemd_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(Unavailable, match=r"LoadCredential=master\.key"):
        load_master_key("systemd:master.key")
    # systemd makes its files 0400 or 0440, and their folder is nobody else's.
    key_file(tmp_path, mode=0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert same_key("systemd:master.key")
    for name in ("../master.key", "..", "sub/key"):
        with pytest.raises(InvalidValue):
            load_master_key(f"systemd:{name}")


PLUGIN = f"""
from gateway.registry import LocalKey

def provide(argument):
    if argument == "broken":
        raise RuntimeError("the secret of the service is hunter2")
    return LocalKey(f"plugin:vault {{argument}}", bytes.fromhex("{HEX}"))
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package that offers the provider `vault`."""
    (tmp_path / "vault_provider.py").write_text(PLUGIN)
    metadata = tmp_path / "vault_provider-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: vault-provider\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{PROVIDER_GROUP}]\nvault = vault_provider:provide\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("vault_provider", None)


@pytest.mark.usefixtures("plugin")
def test_a_key_of_a_plugin() -> None:
    assert same_key("plugin:vault:eu/fleet")
    assert load_master_key("plugin:vault:eu/fleet").name == "plugin:vault eu/fleet"
    with pytest.raises(Unavailable) as caught:
        load_master_key("plugin:vault:broken")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(InvalidValue, match="no installed package"):
        load_master_key("plugin:other")


@pytest.mark.parametrize("spec", ["", HEX, "file:", "env:", "vault:x", "FILE:x"])
def test_what_names_no_key(spec: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        load_master_key(spec)
    assert HEX not in str(caught.value)


@pytest.mark.parametrize("text", ["", HEX[:-2], HEX + "00", HEX[:-1] + "g", "\xff" * 64])
def test_a_file_without_a_key_does_not_show_what_it_holds(tmp_path: Path, text: str) -> None:
    path = key_file(tmp_path, text)
    with pytest.raises(InvalidValue, match="64 hex digits") as caught:
        load_master_key(f"file:{path}")
    assert not text or text not in str(caught.value)


def test_a_new_key_file_is_private_random_and_never_replaced(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    create_master_key(one)
    create_master_key(two)
    assert one.stat().st_mode & 0o777 == 0o600
    assert one.read_text() != two.read_text()
    load_master_key(f"file:{one}")
    before = one.read_text()
    with pytest.raises(FileExistsError):
        create_master_key(one)
    assert one.read_text() == before


def test_nothing_shows_a_key(tmp_path: Path) -> None:
    spec = f"file:{key_file(tmp_path)}"
    key, secrets = load_master_key(spec), Secrets(spec, spec)
    stored = secrets.new_data_key()
    for shown in (repr(key), str(key), repr(secrets), repr(stored)):
        assert HEX not in shown
        assert stored.wrapped.hex() not in shown


# Wrapping.


def test_wrapping_is_that_of_rfc_3394() -> None:
    """RFC 3394 section 4.6: 256 bits of key data with a 256-bit KEK."""
    kek = LocalKey("kek", bytes(range(32)))
    data = bytes.fromhex("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F")
    wrapped = bytes.fromhex("28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21")
    assert kek.wrap(data) == wrapped
    assert kek.unwrap(wrapped) == data


@pytest.mark.parametrize("wrapped", [b"", bytes(8), bytes(40), bytes(41)])
def test_what_was_not_wrapped_does_not_unwrap(wrapped: bytes) -> None:
    with pytest.raises(ValueError, match="authenticate"):
        LocalKey("kek", bytes(32)).unwrap(wrapped)


# Sealing.


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    return Secrets(f"file:{key_file(tmp_path)}")


def test_a_sealed_key_opens_in_its_row_only(secrets: Secrets) -> None:
    key_id = secrets.new_data_key().id
    sealed, _ = secrets.seal(b"K" * 16, key_id, ROW)
    assert b"K" * 16 not in sealed
    assert secrets.open(sealed, key_id, ROW) == b"K" * 16
    with pytest.raises(Unavailable, match="psk rotate"):
        secrets.open(sealed, key_id, ROW + b"x")
    with pytest.raises(Unavailable):
        secrets.open(sealed, secrets.new_data_key().id, ROW)


def test_every_changed_byte_is_noticed(secrets: Secrets) -> None:
    key_id = secrets.new_data_key().id
    sealed, _ = secrets.seal(b"K" * 16, key_id, ROW)
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(Unavailable):
            secrets.open(bytes(changed), key_id, ROW)
    for length in range(len(sealed)):
        with pytest.raises(Unavailable):
            secrets.open(sealed[:length], key_id, ROW)


def test_equal_keys_are_told_by_tags_and_by_nothing_else(secrets: Secrets) -> None:
    one, two = secrets.new_data_key().id, secrets.new_data_key().id
    sealed = [secrets.seal(b"K" * 16, one, ROW) for _ in range(100)]
    assert len({each[0] for each in sealed}) == 100  # a nonce of its own each
    assert len({each[1] for each in sealed}) == 1
    tags = {secrets.tag(b"K" * 16, one), secrets.tag(b"K" * 16, two), secrets.tag(b"K" * 16, None)}
    assert len(tags) == 3  # without the data key, a guess cannot be compared
    assert secrets.tag(b"L" * 16, one) not in tags


def test_another_master_key_opens_nothing(tmp_path: Path, secrets: Secrets) -> None:
    stored = secrets.new_data_key()
    other = tmp_path / "other.key"
    create_master_key(other)
    with pytest.raises(Unavailable, match="does not open"):
        Secrets(f"file:{other}").unwrap(stored)
    with pytest.raises(Unavailable, match="master_key"):
        Secrets().unwrap(stored)
    renamed = StoredDataKey("another", stored.provider, stored.wrapped)
    Secrets(f"file:{tmp_path / 'master.key'}").unwrap(renamed)


# Derivation.

MASTER = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
INFO = "0013" + b"dtls-gateway psk v1".hex() + "0007" + b"default".hex() + "0007" + b"meter-7".hex() + "000400000001"
DERIVED = "a3738bdc773b832b4d46a9790c1ea27b"
"""docs/psk.md shows the same. Made with `openssl kdf`, see below."""


def test_the_derivation_is_that_of_the_document(tmp_path: Path) -> None:
    secrets = Secrets(None, f"file:{key_file(tmp_path, MASTER)}")
    assert derivation_info("default", b"meter-7", 1).hex() == INFO
    assert secrets.derive("default", b"meter-7", 1).hex() == DERIVED
    page = (Path(__file__).parents[2] / "docs" / "psk.md").read_text()
    assert all(value in page for value in (MASTER, INFO, DERIVED))


@pytest.mark.interop
def test_openssl_derives_the_same(tmp_path: Path) -> None:
    openssl = peers.program("openssl")
    secrets = Secrets(None, f"file:{key_file(tmp_path, MASTER)}")
    for tenant, identity, generation in (
        ("default", b"meter-7", 1),
        ("acme", b"\0\xff#2", 2),
        ("a", b"b" * 256, 70000),
    ):
        info = derivation_info(tenant, identity, generation).hex()
        options = ["digest:SHA256", f"hexkey:{MASTER}", f"hexinfo:{info}"]
        done = subprocess.run(
            [openssl, "kdf", "-keylen", "16", *(word for each in options for word in ("-kdfopt", each)), "HKDF"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert bytes.fromhex(done.stdout.replace(":", "")) == secrets.derive(tenant, identity, generation)


def test_no_two_names_derive_the_same(tmp_path: Path) -> None:
    secrets = Secrets(None, f"file:{key_file(tmp_path)}")
    names = [("a", b"bc", 1), ("ab", b"c", 1), ("a", b"bc", 2), ("a", b"bc\0", 1), ("a", b"bc\0\0\0\1", 1)]
    assert len({secrets.derive(*name) for name in names}) == len(names)


def test_without_a_derivation_key_nothing_is_derived(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="derivation_key"):
        Secrets(f"file:{key_file(tmp_path)}").derive("default", b"id", 1)
