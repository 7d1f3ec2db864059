"""What the gateway tells of foreign devices that it refused, and what it keeps to try again later."""

import json
import subprocess
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.pki import create_intermediate, create_root, issue_device
from tests.cli.support import Done, run
from tests.interop.devices import Psk, write_device
from tests.interop.gateway_process import Gateway, build_site
from tests.interop.openssl import refused

pytestmark = pytest.mark.interop

PSK_SUITE, CERTIFICATE_SUITE = "TLS_PSK_WITH_AES_128_CCM_8", "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"


def test_a_device_of_an_unknown_factory_and_one_with_an_unknown_identity(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    root = create_root("Acme Factory 2")
    line = create_intermediate(root, "Acme Line 1")
    made = issue_device(line, "sensor-7")
    device = write_device(site, "sensor-7", made.presented, made.private_key)
    authority = tmp_path / "acme.pem"
    authority.write_bytes(root.certificate.public_bytes(Encoding.PEM))
    told = subprocess.run(
        ["openssl", "x509", "-in", str(authority), "-noout", "-ext", "subjectKeyIdentifier"],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    key_id = told.splitlines()[-1].strip().replace(":", "").lower()
    with Gateway(site) as gateway:
        url = f"http://127.0.0.1:{gateway.admin_port}"

        def explain(*words: str) -> Done:
            return run("explain", "--server", url, *words)

        refused(gateway.port, device, CERTIFICATE_SUITE)
        refused(gateway.port, Psk("meter-9"), PSK_SUITE)
        gateway.log.wait_for_all("dtls.handshake_failed", 2)
        for words in (["--device", "sensor-7"], ["--identity", "sensor-7"], ["sensor-7"], ["--last", "1", "sensor-7"]):
            [failure] = explain(*words, "-o", "json").json
            assert (failure["reason"], failure["identity"]) == ("unknown_root", "sensor-7")
            assert "Acme Factory 2" in failure["issuer"]
            assert failure["issuer_key_id"] == key_id
            assert failure["command"] == "gateway ca trust FILE"
        shown = explain("--device", "sensor-7").stdout
        assert f"key id {key_id}" in shown
        assert "\nserver name  localhost\n" in shown
        [failure] = explain("--identity", "meter-9", "-o", "json").json
        assert failure["command"] == "gateway device add meter-9 --psk-identity meter-9 --psk-file FILE"
        assert explain("--device", "meter-9", "-o", "json").json == []
        assert len(explain("--source", "127.0.0.0/8", "-o", "json").json) == 2
        assert len(explain("--source", "127.0.0.1", "--last", "1", "-o", "json").json) == 1
        nobody = explain("--source", "192.0.2.1", "--identity", "meter-9")
        assert nobody.stdout == "no failed handshake is remembered of meter-9, 192.0.2.1\n"
        explain("--source", "here").refused(2)
        check_chains(gateway, [each.public_bytes(Encoding.DER) for each in made.presented])


def check_chains(gateway: Gateway, presented: list[bytes]) -> None:
    plain = json.loads(gateway.get("/debug/failures"))["failures"]
    assert all("chain" not in failure for failure in plain)
    full: list[dict[str, Any]] = json.loads(gateway.get("/debug/failures?chains=1"))["failures"]
    # OpenSSL sends the first certificate of a chain file twice.
    chains = {failure["reason"]: list(dict.fromkeys(map(b64decode, failure["chain"]))) for failure in full}
    assert chains == {"unknown_root": presented, "unknown_identity": []}
