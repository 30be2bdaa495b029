"""Files of the driver's machine in the caches of nodes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from collapse_tests.cache import CACHE_VARIABLE
from collapse_tests.distributed import ray_files
from collapse_tests.distributed.ray_brief import TextsFile
from collapse_tests.distributed.ray_files import keep_model, keep_texts, send_model
from collapse_tests.errors import InfrastructureError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(ray_files, "_PIECE", 10)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    (directory / "more").mkdir(parents=True)
    (directory / "config.json").write_bytes(b"{}")
    (directory / "model.safetensors").write_bytes(bytes(range(100)))
    (directory / "empty.txt").touch()
    (directory / "more" / "notes.md").write_text("notes")
    (directory / "pytorch_model.bin").write_text("never read")
    (directory / ".git").mkdir()
    (directory / ".git" / "HEAD").write_text("hidden")
    return directory


def test_a_model_arrives_whole_and_once(model: Path) -> None:
    store: list[bytes] = []

    def put(data: bytes) -> int:
        store.append(data)
        return len(store) - 1

    sent = send_model(model, put)
    fetched: list[int] = []

    def get(index: int) -> bytes:
        fetched.append(index)
        return store[index]

    place = keep_model(sent, get, print)
    files = {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}
    assert files == {
        "config.json": b"{}",
        "model.safetensors": bytes(range(100)),
        "empty.txt": b"",
        "more/notes.md": b"notes",
    }
    assert max(map(len, store)) == 10
    fetched.clear()
    assert keep_model(sent, get, print) == place
    assert fetched == []


def test_other_content_is_another_place(model: Path) -> None:
    before = send_model(model, lambda data: data)
    (model / "config.json").write_bytes(b"[]")
    assert send_model(model, lambda data: data).digest != before.digest


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable to root")
def test_what_cannot_be_read_is_said(model: Path) -> None:
    (model / "config.json").chmod(0)
    with pytest.raises(InfrastructureError, match="check its files"):
        send_model(model, lambda data: data)


def test_a_copy_that_fails_leaves_nothing_behind(model: Path, tmp_path: Path) -> None:
    def fails(reference: object) -> bytes:
        raise OSError("no space left")

    with pytest.raises(InfrastructureError, match="no space left"):
        keep_model(send_model(model, lambda data: data), fails, print)
    assert [path for path in (tmp_path / "cache" / "sent").iterdir() if path.is_dir()] == []


def test_sentences_keep_their_name_which_says_how_they_are_read() -> None:
    path = keep_texts(TextsFile("lines.txt", b"One.\nTwo.\n"))
    assert path.name == "lines.txt"
    assert path.read_bytes() == b"One.\nTwo.\n"
    assert keep_texts(TextsFile("lines.txt", b"One.\nTwo.\n")) == path
    assert keep_texts(TextsFile("lines.txt", b"Other.\n")) != path
