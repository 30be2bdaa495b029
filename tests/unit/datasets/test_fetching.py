"""Published sets: fetched once, whole or not at all, and every way in which that can go wrong."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from collapse_tests.datasets.catalogue import CATALOGUE, Kind, Published
from collapse_tests.datasets.fetching import adopt_file, cached_path, published_file, state_of
from collapse_tests.datasets.requests import load_requests
from collapse_tests.datasets.texts import load_texts
from collapse_tests.errors import InfrastructureError, UsageError
from collapse_tests.network import MIRROR_VARIABLE, OFFLINE_VARIABLE, go_offline
from fixtures.file_server import FileServer

FACT = {"prompt": "The river that crosses Vienna is the", "subject": "Vienna", "target_new": "Nile"}
FACTS = json.dumps([{**FACT, "target_new": f"river {index}"} for index in range(40)]).encode()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collapse_tests.datasets.downloading._PAUSE_S", 0.0)
    monkeypatch.setattr("collapse_tests.datasets.downloading._CHUNK", 100)


@pytest.fixture
def said() -> list[str]:
    return []


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def infrastructure_error(name: str, said: list[str]) -> str:
    with pytest.raises(InfrastructureError) as caught:
        published_file(name, said.append)
    return str(caught.value)


def only_locks_remain(entry: Published) -> bool:
    return {path.suffix for path in cached_path(entry).parent.iterdir()} <= {".lock"}


def test_every_entry_says_what_a_user_needs() -> None:
    for name, entry in CATALOGUE.items():
        assert entry.name == name
        assert entry.records > 0
        assert entry.about
        assert entry.page.startswith("https://")
        assert entry.url is None or entry.url.endswith(f"/{entry.file_name}")
        assert (entry.size is None) == (entry.sha256 is None)
    assert len({entry.file_name for entry in CATALOGUE.values()}) == len(CATALOGUE)


def test_a_set_is_fetched_once(file_server: FileServer, said: list[str]) -> None:
    entry = file_server.publish("counterfact", FACTS)

    path = published_file("counterfact", said.append)

    assert path == cached_path(entry)
    assert path.read_bytes() == FACTS
    assert said[0].startswith(f"fetching counterfact, once: {file_server.base}/counterfact.json, 0.0 MB")
    assert published_file("counterfact", said.append) == path
    assert file_server.asked == [("/counterfact.json", None)]
    assert sorted(one.name for one in path.parent.iterdir()) == ["counterfact.json", "counterfact.json.lock"]
    assert state_of(entry) == "cached"


def test_a_cached_set_needs_neither_network_nor_a_writable_cache(
    file_server: FileServer, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file_server.publish("counterfact", FACTS)
    path = published_file("counterfact", said.append)
    said.clear()
    monkeypatch.setenv(OFFLINE_VARIABLE, "1")
    monkeypatch.setattr("collapse_tests.cache.exclusive", None)

    assert published_file("counterfact", said.append) == path
    assert said == []


def test_requests_and_sentences_come_by_name(file_server: FileServer) -> None:
    file_server.publish("counterfact", FACTS)
    named = load_requests("counterfact", limit=2)
    assert [one.edit_id for one in named] == ["counterfact:0000", "counterfact:0001"]

    file_server.publish("me-ppl-50", json.dumps([{"Corpus": "web", "Text": " One two"}]).encode())
    assert load_texts("me-ppl-50") == (" One two",)


def test_a_file_of_that_name_does_not_shadow_a_set(
    file_server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_server.publish("counterfact", FACTS)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "counterfact").write_text("mine")

    assert len(load_requests("counterfact")) == 40


def test_a_set_of_the_other_kind_is_sent_where_it_belongs() -> None:
    with pytest.raises(UsageError, match=r"--edits 'me-ppl' is a set of sentences.*give it to --ppl-texts"):
        load_requests("me-ppl")
    with pytest.raises(UsageError, match=r"--ppl-texts 'zsre' is a set of requests.*give it to --edits"):
        load_texts("zsre")


def test_unknown_names_are_told_the_known_ones(own_network: None) -> None:
    with pytest.raises(UsageError, match=r"'counterfct' is no file; did you mean 'counterfact'\?.*published set: c"):
        load_requests("counterfct")
    with pytest.raises(UsageError, match=r"did you mean 'me-ppl-50'\?.*a published set: me-ppl-50, me-ppl-1k, me-ppl"):
        load_texts("meppl-50")
    with pytest.raises(UsageError, match=r"'hard-cf' is no published set; did you mean 'hardcf'\? Give one of c"):
        published_file("hard-cf")
    with pytest.raises(UsageError, match=r"'quux' is no published set; give one of counterfact, zsre"):
        published_file("quux")


@pytest.mark.parametrize("name", ["counterfact", "zsre"])
def test_what_a_download_breaks_off_is_gone_on_with(file_server: FileServer, said: list[str], name: str) -> None:
    file_server.publish(name, FACTS, pinned=name == "counterfact")
    file_server.breaks_after = [1000, 500, None]

    assert published_file(name, said.append).read_bytes() == FACTS
    assert [wanted for _, wanted in file_server.asked] == [None, "bytes=1000-", "bytes=1500-"]
    assert "the connection ended after 1,000 bytes: going on there" in said


def test_the_next_try_goes_on_where_the_last_one_ended(file_server: FileServer, said: list[str]) -> None:
    entry = file_server.publish("counterfact", FACTS)
    file_server.breaks_after = [700, 0]

    message = infrastructure_error("counterfact", said)

    assert "700 bytes are kept, and the next try goes on there" in message
    assert not cached_path(entry).exists()
    assert published_file("counterfact", said.append).read_bytes() == FACTS
    assert [wanted for _, wanted in file_server.asked] == [None, "bytes=700-", "bytes=700-"]


def test_what_has_come_is_not_lost_to_a_server_of_something_else(file_server: FileServer, said: list[str]) -> None:
    file_server.publish("counterfact", FACTS)
    file_server.breaks_after = [700, 0]
    infrastructure_error("counterfact", said)
    file_server.content, file_server.knows_ranges = b"<html>Sign in</html>", False

    assert f"it has 20 bytes instead of {len(FACTS):,}" in infrastructure_error("counterfact", said)

    file_server.content, file_server.knows_ranges = FACTS, True
    assert published_file("counterfact", said.append).read_bytes() == FACTS
    assert file_server.asked[-1] == ("/counterfact.json", "bytes=700-")


def test_a_server_that_sends_another_range_is_asked_for_all(
    file_server: FileServer, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file_server.publish("counterfact", FACTS)
    file_server.breaks_after = [700, None, None]
    monkeypatch.setattr("collapse_tests.datasets.downloading._begins_at", lambda response, offset: False)

    assert published_file("counterfact", said.append).read_bytes() == FACTS
    assert [wanted for _, wanted in file_server.asked] == [None, "bytes=700-", None]


def test_halves_of_two_addresses_are_not_joined_without_a_checksum(
    file_server: FileServer, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file_server.publish("zsre", FACTS, pinned=False)
    monkeypatch.setenv(MIRROR_VARIABLE, f"{file_server.base}/mirror")
    file_server.breaks_after = [700, 0]

    assert published_file("zsre", said.append).read_bytes() == FACTS
    assert file_server.asked == [
        ("/mirror/zsre_mend_eval.json", None),
        ("/mirror/zsre_mend_eval.json", "bytes=700-"),
        ("/zsre_mend_eval.json", None),
    ]


def test_nothing_is_kept_or_promised_without_a_checksum(file_server: FileServer, said: list[str]) -> None:
    entry = file_server.publish("zsre", FACTS, pinned=False)
    file_server.breaks_after = [700, 0]

    assert "bytes are kept" not in infrastructure_error("zsre", said)
    assert only_locks_remain(entry)


def test_a_server_without_ranges_sends_all_again(file_server: FileServer, said: list[str]) -> None:
    file_server.publish("counterfact", FACTS)
    file_server.knows_ranges = False
    file_server.breaks_after = [1000, None]

    assert published_file("counterfact", said.append).read_bytes() == FACTS
    assert [wanted for _, wanted in file_server.asked] == [None, "bytes=1000-"]


def test_a_part_of_another_file_is_not_gone_on_with(file_server: FileServer, said: list[str]) -> None:
    entry = file_server.publish("counterfact", FACTS)
    cached_path(entry).parent.mkdir(parents=True)
    part = cached_path(entry).with_name(".counterfact.json.part")
    part.write_bytes(b"x" * 100)

    assert published_file("counterfact", said.append).read_bytes() == FACTS
    assert [wanted for _, wanted in file_server.asked] == ["bytes=100-", None]

    cached_path(entry).unlink()
    part.write_bytes(b"x" * (len(FACTS) + 5))
    assert published_file("counterfact", said.append).read_bytes() == FACTS


def test_a_part_as_long_as_what_the_server_has_is_dropped(file_server: FileServer, said: list[str]) -> None:
    entry = file_server.publish("counterfact", FACTS)
    cached_path(entry).parent.mkdir(parents=True)
    cached_path(entry).with_name(".counterfact.json.part").write_bytes(FACTS[:-1])
    file_server.content = FACTS[:-1]

    message = infrastructure_error("counterfact", said)

    assert f"is truncated: it has {len(FACTS) - 1:,} of {len(FACTS):,} bytes" in message
    assert [wanted for _, wanted in file_server.asked] == [f"bytes={len(FACTS) - 1}-", None, None]
    assert only_locks_remain(entry)


def test_a_truncated_file_is_named_with_both_sizes_and_never_kept(file_server: FileServer, said: list[str]) -> None:
    entry = file_server.publish("counterfact", FACTS)
    file_server.content = FACTS[:-10]

    message = infrastructure_error("counterfact", said)

    assert f"is truncated: it has {len(FACTS) - 10:,} of {len(FACTS):,} bytes" in message
    assert f"download it from {entry.url} by hand and run `collapse-data fetch counterfact --from FILE`" in message
    assert "give FILE to --edits" in message
    assert only_locks_remain(entry)


def test_a_wrong_file_is_named_with_both_checksums_and_never_kept(file_server: FileServer, said: list[str]) -> None:
    entry = file_server.publish("counterfact", FACTS)
    file_server.content = FACTS.replace(b"Vienna", b"Berlin")

    message = infrastructure_error("counterfact", said)

    wrong = digest(file_server.content)
    assert f"is not the expected file: SHA-256 {wrong} instead of {digest(FACTS)}" in message
    assert only_locks_remain(entry)

    file_server.content = FACTS + b" "
    assert f"has {len(FACTS) + 1:,} bytes instead of {len(FACTS):,}" in infrastructure_error("counterfact", said)


def test_a_web_page_in_place_of_a_file_is_named(file_server: FileServer, said: list[str], tmp_path: Path) -> None:
    entry = file_server.publish("counterfact", FACTS)
    file_server.content = b"\xef\xbb\xbf\n<!DOCTYPE html><html>Sign in</html>"

    assert "counterfact.json: is not the expected file: it is a web page" in infrastructure_error("counterfact", said)
    assert only_locks_remain(entry)

    saved = tmp_path / "saved.json"
    saved.write_bytes(file_server.content)
    with pytest.raises(UsageError, match=r"^--from '.*saved.json' is not the expected file: it is a web page"):
        adopt_file("counterfact", saved, said.append)


def test_a_server_that_refuses_is_named(file_server: FileServer, said: list[str]) -> None:
    file_server.publish("me-ppl-50", json.dumps(["one"]).encode())
    file_server.status = 404

    message = infrastructure_error("me-ppl-50", said)

    assert f"({file_server.base}/ME-PPL_50.json: HTTP status 404 Not Found)" in message
    assert "or give FILE to --ppl-texts" in message


def test_a_server_that_is_gone_is_named(file_server: FileServer, said: list[str]) -> None:
    entry = file_server.publish("counterfact", FACTS)
    gone = "http://127.0.0.1:9/counterfact.json"
    file_server.replace_address("counterfact", gone)

    message = infrastructure_error("counterfact", said)

    assert f"published set 'counterfact' could not be fetched ({gone}: " in message
    assert "refused" in message
    assert "object at 0x" not in message
    assert only_locks_remain(entry)


def test_a_damaged_cache_is_fetched_anew(file_server: FileServer, said: list[str]) -> None:
    entry = file_server.publish("counterfact", FACTS)
    path = published_file("counterfact", said.append)
    path.write_bytes(FACTS[:-1])
    assert state_of(entry) == "damaged"

    assert published_file("counterfact", said.append).read_bytes() == FACTS

    path.write_bytes(FACTS.replace(b"Vienna", b"Berlin"))
    assert published_file("counterfact", said.append).read_bytes() == FACTS
    assert len(file_server.asked) == 3


def test_a_cached_file_that_cannot_be_read_is_told(
    file_server: FileServer, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *given: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    entry = file_server.publish("counterfact", FACTS)
    published_file("counterfact", said.append)
    monkeypatch.setattr(Path, "open", refuse)

    assert state_of(entry) == "unreadable"
    assert "Permission denied" in infrastructure_error("counterfact", said)


def test_offline_fetches_nothing(file_server: FileServer, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    file_server.publish("counterfact", FACTS)
    monkeypatch.setenv(OFFLINE_VARIABLE, "yes")

    with pytest.raises(UsageError, match=r"'counterfact' is not in the cache and must not be fetched offline; "):
        published_file("counterfact", said.append)
    with pytest.raises(UsageError, match="offline"):
        load_requests("counterfact")
    assert file_server.asked == []
    assert said == []


def test_mirrors_are_asked_first(file_server: FileServer, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    file_server.publish("counterfact", FACTS)
    monkeypatch.setenv(MIRROR_VARIABLE, f"http://127.0.0.1:9/x, {file_server.base}/lab/sets/")

    assert published_file("counterfact", said.append).read_bytes() == FACTS
    assert [path for path, _ in file_server.asked] == ["/lab/sets/counterfact.json"]


def test_a_mirror_may_have_what_has_no_address(
    file_server: FileServer, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = file_server.publish("hardedit", FACTS, pinned=False)
    assert state_of(entry) == "by hand"
    with pytest.raises(UsageError, match=r"no address of its own; download it from https://drive.* --from FILE`, or"):
        published_file("hardedit", said.append)

    monkeypatch.setenv(MIRROR_VARIABLE, file_server.base)
    assert state_of(entry) == "not fetched"
    assert published_file("hardedit", said.append).read_bytes() == FACTS


def test_the_first_checksum_is_held_to_where_none_is_known(file_server: FileServer, said: list[str]) -> None:
    file_server.publish("zsre", FACTS, pinned=False)
    path = published_file("zsre", said.append)
    record = path.with_name("zsre_mend_eval.json.sha256")
    assert record.read_text() == f"{digest(FACTS)}  zsre_mend_eval.json\n"

    path.write_bytes(b"damaged")
    assert published_file("zsre", said.append).read_bytes() == FACTS

    path.unlink()
    changed = FACTS.replace(b"Vienna", b"Berlin")
    file_server.content = changed
    message = infrastructure_error("zsre", said)
    assert f"SHA-256 {digest(changed)} instead of {digest(FACTS)}, as it was at first; remove {record}" in message
    assert not path.exists()

    record.unlink()
    assert published_file("zsre", said.append).read_bytes() == changed


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"<html>Sign in to this network</html>", "is not the expected file: it is a web page"),
        (b"Not found", "is not the expected file: it is not valid JSON at line 1"),
        (FACTS[:-30], "is not valid JSON at line"),
        (b"\xff\xfe", "it is not UTF-8"),
        (b"[]", "it holds no records"),
        (b'[{"a": 1}]', "no record of it is usable"),
        (json.dumps([FACT]).encode(), "it has 1 record instead of 40"),
    ],
)
def test_a_set_without_a_checksum_must_at_least_be_one(
    file_server: FileServer, said: list[str], content: bytes, problem: str
) -> None:
    entry = file_server.publish("zsre", FACTS, pinned=False)
    file_server.content = content

    assert problem in infrastructure_error("zsre", said)
    assert only_locks_remain(entry)


def test_a_cache_that_cannot_be_written_is_named(
    file_server: FileServer, said: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file_server.publish("counterfact", FACTS)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PYTEST_COLLAPSE_CACHE", str(tmp_path / "file"))

    with pytest.raises(UsageError, match="is a file or lies below one"):
        published_file("counterfact", said.append)


def test_a_full_disk_is_named(file_server: FileServer, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: object) -> None:
        raise OSError(28, "No space left on device")

    file_server.publish("counterfact", FACTS)
    monkeypatch.setattr(Path, "replace", full)

    assert "No space left on device; free some space" in infrastructure_error("counterfact", said)


def test_processes_that_start_at_once_fetch_once(file_server: FileServer, tmp_path: Path) -> None:
    entry = file_server.publish("counterfact", FACTS)
    code = (
        "import sys\n"
        "from dataclasses import replace\n"
        "from collapse_tests.datasets.catalogue import CATALOGUE\n"
        "from collapse_tests.datasets.fetching import published_file\n"
        "url, size, sha256 = sys.argv[1:]\n"
        "CATALOGUE['counterfact'] = replace(CATALOGUE['counterfact'], url=url, size=int(size), sha256=sha256)\n"
        "print(published_file('counterfact').stat().st_size)\n"
    )
    words = [sys.executable, "-c", code, str(entry.url), str(entry.size), str(entry.sha256)]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [process.communicate(timeout=60) for process in running]

    assert [out.strip() for out, _ in outputs] == [str(len(FACTS))] * 3, outputs
    assert len(file_server.asked) == 1


def test_an_interrupt_leaves_a_part_and_no_file(file_server: FileServer, said: list[str]) -> None:
    entry = file_server.publish("counterfact", FACTS)

    def interrupt(line: str) -> None:
        if line.startswith("the connection ended"):
            os.kill(os.getpid(), signal.SIGINT)
        said.append(line)

    file_server.breaks_after = [900]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            published_file("counterfact", interrupt)
    finally:
        signal.signal(signal.SIGINT, before)

    assert not cached_path(entry).exists()
    assert published_file("counterfact", said.append).read_bytes() == FACTS
    assert file_server.asked[-1] == ("/counterfact.json", "bytes=900-")


def test_quarters_are_told(file_server: FileServer, said: list[str]) -> None:
    file_server.publish("counterfact", FACTS)

    published_file("counterfact", said.append)

    assert [line[:12] for line in said[1:4]] == ["fetched 25 %", "fetched 50 %", "fetched 75 %"]


def test_without_a_listener_progress_goes_to_the_standard_error(
    file_server: FileServer, capsys: pytest.CaptureFixture[str]
) -> None:
    file_server.publish("counterfact", FACTS)

    load_requests("counterfact")

    captured = capsys.readouterr()
    assert captured.err.startswith("collapse: fetching counterfact, once: http://127.0.0.1:")
    assert captured.out == ""


def test_a_file_downloaded_by_hand_is_adopted(file_server: FileServer, said: list[str], tmp_path: Path) -> None:
    entry = file_server.publish("counterfact", FACTS)
    mine = tmp_path / "download (1).json"
    mine.write_bytes(FACTS)
    go_offline()

    assert adopt_file("counterfact", mine, said.append) == cached_path(entry)
    assert len(load_requests("counterfact")) == 40
    assert mine.exists()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (FACTS[:-10], "is truncated: it has"),
        (FACTS.replace(b"Vienna", b"Berlin"), "is not the expected file: SHA-256"),
    ],
)
def test_what_is_adopted_is_checked(
    file_server: FileServer, said: list[str], tmp_path: Path, content: bytes, problem: str
) -> None:
    entry = file_server.publish("counterfact", FACTS)
    mine = tmp_path / "mine.json"
    mine.write_bytes(content)

    with pytest.raises(UsageError) as caught:
        adopt_file("counterfact", mine, said.append)

    assert str(caught.value).startswith(f"--from {str(mine)!r} {problem}")
    assert only_locks_remain(entry)


def test_no_file_or_a_directory_is_not_adopted(own_network: None, said: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a directory; give the file of zsre in it"):
        adopt_file("zsre", tmp_path, said.append)
    with pytest.raises(UsageError, match="is no file; give the file of zsre"):
        adopt_file("zsre", tmp_path / "absent", said.append)


def test_another_cut_of_a_hand_picked_set_is_adopted_with_a_word(
    file_server: FileServer, said: list[str], tmp_path: Path
) -> None:
    file_server.publish("hardcf", FACTS, pinned=False)
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps([FACT]))

    adopt_file("hardcf", mine, said.append)

    assert said == ["warning: this file of hardcf has 1 record instead of 40; it is used as it is"]
    assert len(load_requests("hardcf")) == 1
    assert CATALOGUE["hardcf"].kind is Kind.REQUESTS
