"""The import contracts hold, and each of them really fails when somebody breaks it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository.tree import ROOT, pyproject

LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"
CONTRACTS = pyproject()["tool"]["importlinter"]["contracts"]
# File -> modules that it must not import, and that no other contract of the same file would report.
PLANTED = {
    "gateway/registry/planted_upwards.py": ["gateway.server"],
    "gateway/telemetry/planted_upwards.py": ["gateway.coap"],
    "gateway/identity/planted_sideways.py": ["gateway.handlers"],
    "gateway/pki/planted_sideways.py": ["gateway.dtls"],
    "gateway/simulator/planted_upwards.py": ["gateway.cli"],
    "gateway/dtls/planted_io.py": CONTRACTS[1]["forbidden_modules"],
    "gateway/coap/planted_io.py": CONTRACTS[1]["forbidden_modules"],
    "gateway/coap/planted_crypto.py": ["cryptography.x509"],
    "gateway/dtls/handshake/planted_crypto.py": ["cryptography.hazmat.primitives.hashes"],
    "gateway/registry/planted_dtls.py": ["gateway.dtls"],
    "gateway/handlers/planted_dtls.py": ["gateway.dtls"],
    "gateway/server/planted_simulator.py": ["gateway.simulator"],
    "gateway/admin/planted_simulator.py": ["gateway.simulator"],
    "gateway/admin/planted_path.py": ["gateway.dtls", "gateway.coap", "gateway.server"],
}


def lint(folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False
    )
    # Long lines are wrapped, which would tear names apart.
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "gateway", tmp_path / "gateway", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_contracts_hold(copy: Path) -> None:
    status, output = lint(copy)
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in output
    assert status == 0


def test_each_contract_finds_its_planted_violations(copy: Path) -> None:
    for name, modules in PLANTED.items():
        (copy / name).write_text("".join(f"import {module}\n" for module in modules))
    status, output = lint(copy)
    assert status == 1
    for contract in CONTRACTS:
        assert f"{contract['name']} BROKEN" in output
    for name, modules in PLANTED.items():
        planted = name.removesuffix(".py").replace("/", ".")
        for module in modules:
            # Foreign packages are one node each.
            target = module if module.startswith("gateway.") else module.partition(".")[0]
            assert f"{planted} -> {target} (l." in output, f"{planted} may import {module}"


def test_a_room_that_the_layers_do_not_name_is_found(copy: Path) -> None:
    room = copy / "gateway" / "annex"
    room.mkdir()
    (room / "__init__.py").write_text("")
    status, output = lint(copy)
    assert status == 1
    assert "gateway.annex" in output


def test_cryptography_is_allowed_in_the_crypto_room_alone(copy: Path) -> None:
    (copy / "gateway/dtls/crypto/planted.py").write_text("import cryptography\n")
    assert lint(copy)[0] == 0
