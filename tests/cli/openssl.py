"""The `openssl` tool as a judge of the files that the command writes."""

import re
import subprocess
from pathlib import Path

from tests.interop.peers import program


def openssl(*words: str) -> str:
    """What it prints; it has to succeed."""
    done = subprocess.run([program("openssl"), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    return done.stdout


def verifies(certificate: str, root: str, *words: str) -> bool:
    """Whether a chain file (certificate first, then intermediates) verifies to a root."""
    done = subprocess.run(
        [program("openssl"), "verify", "-x509_strict", "-CAfile", root, "-untrusted", certificate, *words, certificate],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0 or done.stdout == f"{certificate}: OK\n"
    return done.returncode == 0


def text(certificate: str) -> str:
    """The certificate as openssl reads it, with single spaces and no line breaks."""
    return re.sub(r"\s+", " ", openssl("x509", "-in", certificate, "-noout", "-text"))


def facts(certificate: str, *options: str) -> str:
    return openssl("x509", "-in", certificate, "-noout", *options).strip()


def key_belongs(certificate: str, key: str) -> bool:
    public = openssl("x509", "-in", certificate, "-noout", "-pubkey")
    return openssl("pkey", "-in", key, "-pubout") == public


def mode(path: str) -> int:
    return Path(path).stat().st_mode & 0o777
