"""The key schedule against published vectors and against the RFCs' formulas, written down once more."""

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dtls.crypto import SUITES, Hmac, RunningHash
from gateway.dtls.crypto.kdf import SHA256, SHA384
from gateway.dtls.handshake import key_schedule
from tests.dtls import rawclient

# https://mailarchive.ietf.org/arch/msg/tls/fzVCzk-z3FShgGJ6DOXqM1ydxms/ "P_hash-SHA256 test vector", 2009.
SECRET = bytes.fromhex("9bbe436ba940f017b17652849a71db35")
SEED = bytes.fromhex("a0ba9f936cda311827a6f796ffd5198c")
OUTPUT = bytes.fromhex(
    "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af0fa022f7077def17"
    "abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff70187347b66"
)

CLIENT_RANDOM, SERVER_RANDOM = bytes(range(32)), bytes(range(32, 64))


def test_prf_sha256_vector() -> None:
    assert len(OUTPUT) == 100
    assert Hmac(SECRET).prf(b"test label", SEED, 100) == OUTPUT


@pytest.mark.parametrize("length", [0, 1, 12, 31, 32, 33, 48, 64, 99])
def test_prf_output_is_cut_and_not_changed_by_its_length(length: int) -> None:
    assert Hmac(SECRET).prf(b"test label", SEED, length) == OUTPUT[:length]


# RFC 4231 sections 4.2, 4.3 and 4.7 (a key longer than the block).
@pytest.mark.parametrize(
    ("key", "data", "mac"),
    [
        (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (
            b"\xaa" * 131,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
    ],
)
def test_hmac_sha256_rfc_4231(key: bytes, data: bytes, mac: str) -> None:
    assert Hmac(key).mac(data).hex() == mac


@given(st.binary(max_size=80), st.binary(max_size=30), st.binary(max_size=80), st.integers(0, 120))
def test_prf_is_p_hash(secret: bytes, label: bytes, seed: bytes, length: int) -> None:
    assert Hmac(secret).prf(label, seed, length) == rawclient.prf(secret, label, seed, length)
    expected = rawclient.prf(secret, label, seed, length, "sha384")
    assert Hmac(secret, SHA384).prf(label, seed, length) == expected


# https://mailarchive.ietf.org/arch/msg/tls/fzVCzk-z3FShgGJ6DOXqM1ydxms/, the vector with SHA-384.
def test_prf_sha384_vector() -> None:
    secret = bytes.fromhex("b80b733d6ceefcdc71566ea48e5567df")
    seed = bytes.fromhex("cd665cf6a8447dd6ff8b27555edb7465")
    output = bytes.fromhex(
        "7b0c18e9ced410ed1804f2cfa34a336a1c14dffb4900bb5fd7942107e81c83cde9ca0faa60be9fe34f82b1233c9146a0e534cb400fed"
        "2700884f9dc236f80edd8bfa961144c9e8d792eca722a7b32fc3d416d473ebc2c5fd4abfdad05d9184259b5bf8cd4d90fa0d31e2dec4"
        "79e4f1a26066f2eea9a69236a3e52655c9e9aee691c8f3a26854308d5eaa3be85e0990703d73e56f"
    )
    assert Hmac(secret, SHA384).prf(b"test label", seed, len(output)) == output


def test_sha384() -> None:
    # FIPS 180-4 example: SHA-384 of "abc".
    running = RunningHash(SHA384)
    running.update(b"abc")
    assert running.digest().hex() == (
        "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"
    )


@pytest.mark.parametrize("number", SUITES, ids=hex)
def test_hash_of_each_suite(number: int) -> None:
    assert SUITES[number].hash.name == rawclient.suite_hash(number)


def test_running_hash_can_be_read_on_the_way() -> None:
    running = RunningHash(SHA256)
    # SHA-256 of nothing and of "abc": FIPS 180-4 examples.
    assert running.digest().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    running.update(b"ab")
    running.digest()
    running.update(b"c")
    assert running.digest().hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# RFC 4279 section 2: "if the PSK is N octets long, concatenate a uint16 with the value N, N zero octets, a second
# uint16 with the value N, and the PSK itself."
@pytest.mark.parametrize(
    ("psk", "premaster"),
    [
        (b"", "00000000"),
        (b"\xaa", "000100" + "0001aa"),
        (b"\x01\x02\x03\x04", "000400000000" + "000401020304"),
        (b"\xff" * 300, "012c" + "00" * 300 + "012c" + "ff" * 300),
    ],
)
def test_psk_premaster_layout(psk: bytes, premaster: str) -> None:
    assert key_schedule.psk_premaster(psk).hex() == premaster


EACH_HASH = pytest.mark.parametrize(("number", "algorithm"), [(0xC0A8, "sha256"), (0x00A9, "sha384")])


@EACH_HASH
def test_master_secret_is_seeded_client_random_first(number: int, algorithm: str) -> None:
    # RFC 5246 section 8.1: PRF(pre_master_secret, "master secret", ClientHello.random + ServerHello.random)[0..47]
    expected = rawclient.prf(b"premaster", b"master secret", CLIENT_RANDOM + SERVER_RANDOM, 48, algorithm)
    assert key_schedule.master_secret(SUITES[number], b"premaster", CLIENT_RANDOM, SERVER_RANDOM, None) == expected


@EACH_HASH
def test_extended_master_secret_takes_the_session_hash_and_no_random(number: int, algorithm: str) -> None:
    # RFC 7627 section 4: PRF(pre_master_secret, "extended master secret", session_hash)[0..47]
    session_hash = bytes(range(64, 96))
    expected = rawclient.prf(b"premaster", b"extended master secret", session_hash, 48, algorithm)
    suite = SUITES[number]
    assert key_schedule.master_secret(suite, b"premaster", CLIENT_RANDOM, SERVER_RANDOM, session_hash) == expected
    assert key_schedule.master_secret(suite, b"premaster", b"x" * 32, b"y" * 32, session_hash) == expected


@pytest.mark.parametrize("number", SUITES)
def test_key_block_order(number: int) -> None:
    # RFC 5246 section 6.3: server random first; client_write_key, server_write_key, client_write_IV, server_write_IV.
    # AEAD suites have no MAC keys. RFC 6655 section 3, RFC 5288 section 3: 4-byte IVs; RFC 7905 section 2: 12 bytes.
    key, iv = rawclient.key_length(number), rawclient.iv_length(number)
    seed, algorithm = SERVER_RANDOM + CLIENT_RANDOM, rawclient.suite_hash(number)
    block = rawclient.prf(b"m" * 48, b"key expansion", seed, 2 * key + 2 * iv, algorithm)
    master = Hmac(b"m" * 48, SUITES[number].hash)
    keys = key_schedule.traffic_keys(SUITES[number], master, CLIENT_RANDOM, SERVER_RANDOM)
    assert keys.client_key == block[:key]
    assert keys.server_key == block[key : 2 * key]
    assert keys.client_iv == block[2 * key : 2 * key + iv]
    assert keys.server_iv == block[2 * key + iv :]


@pytest.mark.parametrize(
    ("label", "word"),
    [(key_schedule.CLIENT_FINISHED, b"client finished"), (key_schedule.SERVER_FINISHED, b"server finished")],
)
def test_verify_data_is_twelve_bytes_over_the_transcript_hash(label: bytes, word: bytes) -> None:
    # RFC 5246 section 7.4.9
    master = b"m" * 48
    expected = hmac.digest(master, hmac.digest(master, word + SEED, "sha256") + word + SEED, "sha256")[:12]
    assert key_schedule.verify_data(Hmac(master), label, SEED) == expected


# RFC 5489 section 2: the length of Z, Z, the length of the PSK and the PSK, lengths as uint16.
@pytest.mark.parametrize(
    ("psk", "shared", "premaster"),
    [
        (b"\xaa", b"\x01\x02", "00020102" + "0001aa"),
        (b"", b"\x00", "000100" + "0000"),
        (b"\xff" * 300, b"\x00" * 32, "0020" + "00" * 32 + "012c" + "ff" * 300),
    ],
)
def test_ecdhe_psk_premaster_layout(psk: bytes, shared: bytes, premaster: str) -> None:
    assert key_schedule.psk_premaster(psk, shared).hex() == premaster
    assert rawclient.ecdhe_premaster(psk, shared).hex() == premaster


def test_secrets_do_not_show() -> None:
    suite = SUITES[0xC0A8]
    keys = key_schedule.traffic_keys(suite, Hmac(b"m" * 48), CLIENT_RANDOM, SERVER_RANDOM)
    assert repr(keys) == "TrafficKeys()"


def test_chacha20_poly1305_rfc_8439() -> None:
    # RFC 8439 section 2.8.2
    key, nonce = bytes(range(0x80, 0xA0)), bytes.fromhex("070000004041424344454647")
    data = (
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would "
        b"be it."
    )
    sealed = SUITES[0xCCAB].aead(key).encrypt(nonce, data, bytes.fromhex("50515253c0c1c2c3c4c5c6c7"))
    assert sealed[:16].hex() == "d31a8d34648e60db7b86afbc53ef7ec2"
    assert sealed[-16:].hex() == "1ae10b594f09e26a7e902ecbd0600691"
