"""A peer that is missing: a reason to skip, or under REQUIRE_PEERS=1 to fail. Optional ones are always skipped."""

from collections.abc import Callable

import pytest

from tests.interop.peers import library, optional_library, optional_program, program

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


@pytest.mark.parametrize("find", [optional_program, optional_library])
def test_missing_optional_peer(find: Callable[[str, str], object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUIRE_PEERS", "1")
    with pytest.raises(pytest.skip.Exception, match="no-such-peer is not installed"):
        find(NOBODY, "its-package")
