"""The C clients of `clients`: compiled where they are first needed, against the newest library that is there."""

import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.interop.peers import FOLDER, missing, program

_SOURCES = Path(__file__).parent / "clients"
_UNPACKED = FOLDER / "debian/usr"
_SYSTEM_HEADERS = Path("/usr/include")
# Kept for as long as the interpreter lives.
_programs: list["TemporaryDirectory[str]"] = []


@cache
def mbedtls_client() -> str:
    """The path of the client on Mbed TLS 3; skips the test in any case where only older ones can be had."""
    libraries = ["-lmbedtls", "-lmbedx509", "-lmbedcrypto"]
    # A header that Mbed TLS 2 has not.
    if (_UNPACKED / "include/mbedtls/build_info.h").exists():
        return _compile("mbedtls_client.c", *_unpacked_folders(), *libraries)
    if (_SYSTEM_HEADERS / "mbedtls/build_info.h").exists():
        return _compile("mbedtls_client.c", *libraries)
    pytest.skip("no Mbed TLS 3 here (Debian 13: libmbedtls-dev); Mbed TLS 2 knows no RFC 9146")


@cache
def wolfssl_client() -> str:
    """The path of the client on wolfSSL; without a library as `peers.program`."""
    if (_UNPACKED / "include/wolfssl/ssl.h").exists():
        # Linked into the program. The one thing that it wants of a newer C library is another name for an old function.
        (archive,) = _UNPACKED.glob("lib/*/libwolfssl.a")
        own_name = "-Wl,--defsym=__isoc23_strtol=strtol"
        return _compile("wolfssl_client.c", *_unpacked_folders(), str(archive), own_name, "-lm", "-lpthread")
    if (_SYSTEM_HEADERS / "wolfssl/ssl.h").exists():
        return _compile("wolfssl_client.c", "-lwolfssl")
    missing("wolfSSL is not installed; `make peers` installs it")


@cache
def patient_download() -> str:
    """The path of what is preloaded into libcoap's client for a download that takes its time."""
    return _compile("patient_download.c", "-shared", "-fPIC", "-ldl")


def wolfssl_has_raw_public_keys() -> bool:
    """Whether the library of `wolfssl_client` was built with them."""
    wolfssl_client()
    folders = [folder for folder in (_UNPACKED / "include", _SYSTEM_HEADERS) if (folder / "wolfssl").exists()]
    return "#define HAVE_RPK\n" in (folders[0] / "wolfssl/options.h").read_text()


def _unpacked_folders() -> list[str]:
    (libraries,) = {str(archive.parent) for archive in _UNPACKED.glob("lib/*/lib*.a")}
    return [f"-I{_UNPACKED}/include", f"-L{libraries}", f"-Wl,-rpath,{libraries}"]


def _compile(source: str, *options: str) -> str:
    folder = TemporaryDirectory(prefix="peer-")
    _programs.append(folder)
    output = Path(folder.name, Path(source).stem)
    command = [
        program("gcc"),
        "-Wall",
        "-Wextra",
        "-Werror",
        "-O1",
        "-o",
        str(output),
        str(_SOURCES / source),
        *options,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return str(output)
