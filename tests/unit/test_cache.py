from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import platformdirs
import pytest

from collapse_tests.cache import (
    CACHE_VARIABLE,
    atomic_directory,
    atomic_write_text,
    cache_dir,
    cache_location,
    discard_abandoned,
    exclusive,
    partial_sibling,
)
from collapse_tests.errors import UsageError


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def _run_and_die(code: str, path: Path) -> None:
    """Run `code` with `path` bound, in a process that ends without any clean-up."""
    script = (
        "import os, pathlib, sys\n"
        "from collapse_tests.cache import atomic_directory, exclusive\n"
        f"path = pathlib.Path(sys.argv[1])\n{code}\n    os._exit(7)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == 7


def test_the_variable_names_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "a" / "b"))
    assert cache_dir() == tmp_path / "a" / "b"
    assert _names(tmp_path / "a" / "b") == []


def test_tilde_is_the_home_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv(CACHE_VARIABLE, "~/cache")
    assert cache_dir() == tmp_path / "cache"


def test_a_relative_path_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CACHE_VARIABLE, "cache")
    assert cache_dir() == tmp_path / "cache"


@pytest.mark.parametrize("value", [None, ""])
def test_without_the_variable_the_platform_decides(
    value: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable in ("HOME", "USERPROFILE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path))
    if value is None:
        monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    else:
        monkeypatch.setenv(CACHE_VARIABLE, value)
    assert cache_dir() == platformdirs.user_cache_path("pytest-collapse", appauthor=False)


def test_the_location_is_known_without_touching_the_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    assert cache_location() == tmp_path / "cache"
    assert _names(tmp_path) == []


@pytest.mark.parametrize("below", ["", "cache"])
def test_a_file_in_its_place_is_refused(below: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    place = tmp_path / "file" / below
    monkeypatch.setenv(CACHE_VARIABLE, str(place))
    with pytest.raises(UsageError) as caught:
        cache_dir()
    assert f"{CACHE_VARIABLE}={str(place)!r}" in str(caught.value)
    assert f"set {CACHE_VARIABLE} to a directory" in str(caught.value)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc, where not even root makes directories")
def test_an_unwritable_place_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, "/proc/self/pytest-collapse")
    with pytest.raises(UsageError, match=rf"{CACHE_VARIABLE}='/proc/self/pytest-collapse'.*cannot be written"):
        cache_dir()


def test_an_existing_but_unwritable_directory_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(self: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(UsageError, match=r"cannot be written to \(Permission denied\)"):
        cache_dir()


def test_an_unknown_user_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, "~nobody-has-this-name/cache")
    with pytest.raises(UsageError, match=f"{CACHE_VARIABLE}='~nobody-has-this-name/cache'"):
        cache_dir()


def test_text_is_written_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    atomic_write_text(path, "früh\r\nspät\n")
    atomic_write_text(path, "früher\r\nspäter\n")
    assert path.read_bytes() == "früher\r\nspäter\n".encode()
    assert _names(path.parent) == ["file.json"]


def test_text_that_cannot_be_written_leaves_the_old(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic_write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        atomic_write_text(path, "\ud800")
    assert path.read_text() == "old"
    assert _names(tmp_path) == ["file"]


def test_readers_never_see_half_a_text(tmp_path: Path) -> None:
    path = tmp_path / "file"
    texts = ["a" * 200_000, "b" * 300_000]
    atomic_write_text(path, texts[0])
    seen: set[str] = set()

    def write() -> None:
        for turn in range(60):
            atomic_write_text(path, texts[turn % 2])

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        seen.add(path.read_text())
    writer.join()
    assert seen <= set(texts)


def test_a_directory_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "entry"
    with atomic_directory(target) as staging:
        (staging / "a").write_text("1")
        assert staging.parent == target.parent
        assert not target.exists()
    assert (target / "a").read_text() == "1"
    assert _names(target.parent) == ["entry"]


def test_a_new_directory_replaces_all_of_the_old(tmp_path: Path) -> None:
    target = tmp_path / "entry"
    for name in ("old", "new"):
        with atomic_directory(target) as staging:
            (staging / name).touch()
    assert _names(target) == ["new"]
    assert _names(tmp_path) == ["entry"]


def test_a_directory_replaces_a_file(tmp_path: Path) -> None:
    (tmp_path / "entry").write_text("in the way")
    with atomic_directory(tmp_path / "entry"):
        pass
    assert (tmp_path / "entry").is_dir()
    assert _names(tmp_path) == ["entry"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("existing", [True, False])
def test_a_failed_directory_leaves_no_trace(error: type[BaseException], existing: bool, tmp_path: Path) -> None:
    target = tmp_path / "entry"
    if existing:
        target.mkdir()
        (target / "old").touch()

    def fail() -> None:
        with atomic_directory(target) as staging:
            (staging / "half").touch()
            raise error

    with pytest.raises(error):
        fail()
    assert _names(tmp_path) == (["entry"] if existing else [])
    assert not existing or _names(target) == ["old"]


def test_what_a_killed_process_left_can_be_discarded(tmp_path: Path) -> None:
    target = tmp_path / "entry"
    _run_and_die("with atomic_directory(path) as staging:\n    (staging / 'half').touch()", target)
    assert len(_names(tmp_path)) == 1

    target.mkdir()
    others = [partial_sibling(tmp_path / name) for name in ("other", "entry.json", "entr")]
    for other in others:
        other.mkdir()
    discard_abandoned(target)
    assert _names(tmp_path) == sorted(["entry", *(other.name for other in others)])


def test_discarding_where_nothing_was_ever_made(tmp_path: Path) -> None:
    discard_abandoned(tmp_path / "missing" / "entry")
    assert _names(tmp_path) == []


def test_a_held_lock_is_waited_for_and_said(tmp_path: Path) -> None:
    held, release = threading.Event(), threading.Event()
    order: list[str] = []

    def holder() -> None:
        with exclusive(tmp_path / "entry"):
            held.set()
            assert release.wait(30)
            order.append("first released")

    def say(line: str) -> None:
        order.append(line)
        release.set()

    other = threading.Thread(target=holder)
    other.start()
    assert held.wait(30)
    with exclusive(tmp_path / "entry", say):
        order.append("second entered")
    other.join()
    assert order == [
        f"waiting for another process that is preparing {tmp_path / 'entry'}",
        "first released",
        "second entered",
    ]


def test_a_free_lock_is_taken_silently_and_freed_after_an_error(tmp_path: Path) -> None:
    lines: list[str] = []

    def fail() -> None:
        with exclusive(tmp_path / "new" / "entry", lines.append):
            raise ValueError

    for _ in range(2):
        with pytest.raises(ValueError, match=r"^$"):
            fail()
    assert lines == []


def test_a_dead_process_holds_no_lock(tmp_path: Path) -> None:
    lines: list[str] = []
    _run_and_die("with exclusive(path):", tmp_path / "entry")
    with exclusive(tmp_path / "entry", lines.append):
        assert lines == []


def test_entries_lock_one_by_one(tmp_path: Path) -> None:
    lines: list[str] = []
    with exclusive(tmp_path / "a", lines.append), exclusive(tmp_path / "b", lines.append):
        assert lines == []
