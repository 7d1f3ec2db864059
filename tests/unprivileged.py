"""Tests of what a user may not do. The superuser may do anything, and some run the tests as that one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

_NOBODY = 65534


@contextmanager
def public_folder() -> Iterator[Path]:
    """An empty folder that any user can go to, as pytest's are not."""
    with TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        yield folder


@contextmanager
def unprivileged(folder: Path) -> Iterator[None]:
    """As somebody who owns a folder and all in it, and is not the superuser.

    What is imported meanwhile has to be in a place that everybody can read: have all imported before.
    """
    if os.geteuid() != 0:
        yield
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, _NOBODY, -1)
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
