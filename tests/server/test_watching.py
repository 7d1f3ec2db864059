"""Whatever a file is replaced by, its watcher notices; whatever happens beside it, it does not."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.server import watching
from gateway.server.watching import Watch, look
from tests.server.support import PATIENCE_S


def kubernetes(folder: Path) -> Path:
    """A mounted ConfigMap: `file -> ..data/file`, `..data -> ..1`."""
    (folder / "..1").mkdir()
    (folder / "..1/file").write_text("1")
    (folder / "..data").symlink_to("..1")
    (folder / "file").symlink_to("..data/file")
    return folder / "file"


def plain(folder: Path) -> Path:
    (folder / "file").write_text("1")
    return folder / "file"


def write_over(folder: Path) -> None:
    (folder / "file").write_text("22")


def rename_over(folder: Path) -> None:
    (folder / ".file.swp").write_text("2")
    (folder / ".file.swp").rename(folder / "file")


def remove(folder: Path) -> None:
    (folder / "file").unlink()


def make_readable(folder: Path) -> None:
    (folder / "file").chmod(0o640)


def swap_link(folder: Path) -> None:
    """What the kubelet does."""
    (folder / "..2").mkdir()
    (folder / "..2/file").write_text("1")
    (folder / "..data_tmp").symlink_to("..2")
    (folder / "..data_tmp").rename(folder / "..data")
    (folder / "..1/file").unlink()
    (folder / "..1").rmdir()


def move_folder(folder: Path) -> None:
    """The folder itself is replaced, of which no watch on the folder tells."""
    other = folder.with_name("other")
    other.mkdir()
    (other / "file").write_text("1")
    folder.rename(folder.with_name("old"))
    other.rename(folder)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("make", "change"),
    [
        (plain, write_over),
        (plain, rename_over),
        (plain, remove),
        (plain, make_readable),
        (plain, move_folder),
        (kubernetes, swap_link),
    ],
    ids=lambda step: step.__name__,
)
async def test_a_change_is_noticed(
    tmp_path: Path, make: Callable[[Path], Path], change: Callable[[Path], None]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    changed = asyncio.Event()
    watch = Watch(changed.set)
    watch.follow([make(folder)])
    try:
        await asyncio.sleep(0)
        change(folder)
        await asyncio.wait_for(changed.wait(), PATIENCE_S)
    finally:
        await watch.stop()


@pytest.mark.asyncio
async def test_links_are_followed_again_after_they_have_moved(tmp_path: Path) -> None:
    changed = asyncio.Event()
    watch = Watch(changed.set)
    watch.follow([kubernetes(tmp_path)])
    try:
        swap_link(tmp_path)
        await asyncio.wait_for(changed.wait(), PATIENCE_S)
        changed.clear()
        (tmp_path / "..2/file").write_text("3")
        await asyncio.wait_for(changed.wait(), PATIENCE_S)
    finally:
        await watch.stop()


@pytest.mark.asyncio
async def test_what_happens_beside_the_file_is_no_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that writes into the same folder all day wakes nobody."""
    monkeypatch.setattr(watching, "WATCH_INTERVAL_S", 0.01)
    changed, looked = asyncio.Event(), asyncio.Event()
    looks: list[Path] = []

    def counted(file: Path) -> watching.Print:
        looks.append(file)
        if len(looks) == 20:
            looked.set()
        (tmp_path / "registry.db-wal").write_text(str(len(looks)))
        return look(file)

    monkeypatch.setattr(watching, "look", counted)
    watch = Watch(changed.set)
    file = plain(tmp_path)
    watch.follow([file])
    try:
        await asyncio.wait_for(looked.wait(), PATIENCE_S)
        assert not changed.is_set()
        assert set(looks) == {file}
    finally:
        await watch.stop()


@pytest.mark.asyncio
async def test_stopping_leaves_no_task(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    watch = Watch(lambda: None)
    for number in range(5):
        (tmp_path / f"{number}").touch()
        watch.follow([tmp_path / f"{number}"])
    await watch.stop()
    await watch.stop()
    assert {task for task in asyncio.all_tasks() if not task.cancelling()} == before


def test_a_path_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert look(tmp_path / "loop") is None
    assert look(tmp_path / "not/there") is None
