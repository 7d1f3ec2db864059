"""A peer that is missing is a reason to skip, or under REQUIRE_PEERS=1 to fail; one that nobody can have, to skip."""

from collections.abc import Callable

import pytest

from tests.interop.peers import library, mbedtls_library, program

NOBODY = "no-such-peer"


def test_what_is_there_is_found() -> None:
    assert program("sh").endswith("/sh")
    library("json")


@pytest.mark.parametrize("find", [program, library])
def test_missing_peer(find: Callable[[str], object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUIRE_PEERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-peer is not installed; `make peers` installs it"):
        find(NOBODY)
    monkeypatch.setenv("REQUIRE_PEERS", "1")
    with pytest.raises(pytest.fail.Exception, match=r"REQUIRE_PEERS=1, and .*no-such-peer is not installed"):
        find(NOBODY)


def test_a_library_that_this_python_cannot_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUIRE_PEERS", "1")
    monkeypatch.setattr("sys.version_info", (3, 13, 0))
    with pytest.raises(pytest.skip.Exception, match=r"no wheel for a Python newer than 3\.12"):
        mbedtls_library()
