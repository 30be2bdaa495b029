"""`collapse-data list`, `fetch`, `check` and `show` as they are typed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from collapse_tests.data_tool.main import app
from collapse_tests.datasets.catalogue import CATALOGUE
from collapse_tests.datasets.fetching import cached_path
from collapse_tests.datasets.requests import ShippedSet
from collapse_tests.datasets.texts import load_texts
from fixtures.file_server import FileServer

pytestmark = pytest.mark.usefixtures("own_network")

FACT: dict[str, Any] = {"prompt": "The river in Vienna is the", "subject": "Vienna", "target_new": "Nile"}
FACTS = json.dumps([{**FACT, "target_new": f"river {index}"} for index in range(12)]).encode()


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def data(*arguments: str) -> tuple[int, list[str]]:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, [" ".join(line.split()) for line in done.output.splitlines() if line.strip()]


def write(path: Path, content: object) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def test_no_framework_is_imported() -> None:
    code = (
        "import sys\n"
        "from collapse_tests.data_tool.main import app\n"
        "for words in (['--help'], ['list'], ['check', 'hard', 'default'], ['show', 'normal']):\n"
        "    app(words, standalone_mode=False)\n"
        "print(sorted({'torch', 'transformers', 'lm_eval', 'datasets', 'pooch'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


def test_every_named_set_is_listed_with_its_place(file_server: FileServer) -> None:
    file_server.publish("counterfact", FACTS)
    assert data("fetch", "counterfact")[0] == 0
    cached_path(CATALOGUE["me-ppl-50"]).write_bytes(b"damaged")

    code, lines = data("list")

    assert code == 0
    rows = {line.split()[0]: line for line in lines[2:]}
    assert list(rows) == [*map(str, ShippedSet), "default", "default-1k", *CATALOGUE]
    assert rows["smoke"].endswith("16 shipped")
    assert rows["default-1k"].startswith("default-1k texts")
    assert rows["default-1k"].endswith("1,000 173,893 shipped")
    assert rows["counterfact"].startswith("counterfact requests COUNTERFACT: facts made false")
    assert rows["counterfact"].endswith(f"12 {len(FACTS):,} cached")
    assert rows["me-ppl-50"].endswith("damaged")
    assert rows["me-ppl"].endswith("10,000 1,975,615 not fetched")
    assert rows["zsre"].endswith("19,086 not fetched")
    assert rows["hardcf"].endswith("107 by hand")


def test_fetching_says_what_it_does_and_where_it_ends(file_server: FileServer) -> None:
    entry = file_server.publish("counterfact", FACTS)

    code, lines = data("fetch", "counterfact")

    assert code == 0
    assert lines[0] == f"fetching counterfact, once: {entry.url}, 0.0 MB"
    assert lines[-1] == f"counterfact: {cached_path(entry)}"
    assert data("fetch", "counterfact") == (0, lines[-1:])


def test_a_file_by_hand(tmp_path: Path, file_server: FileServer) -> None:
    entry = file_server.publish("hardedit", FACTS, pinned=False)
    mine = tmp_path / "HardEdit (1).json"
    mine.write_bytes(FACTS)

    assert data("fetch", "hardedit")[0] == 2
    assert data("fetch", "hardedit", "--from", str(mine)) == (0, [f"hardedit: {cached_path(entry)}"])
    assert data("fetch", "hardedit") == (0, [f"hardedit: {cached_path(entry)}"])


def test_a_mirror_and_no_network(file_server: FileServer) -> None:
    file_server.publish("counterfact", FACTS)

    code, lines = data("fetch", "--offline", "counterfact")
    assert code == 2
    assert "must not be fetched offline" in lines[0]
    assert file_server.asked == []


def test_a_mirror_is_asked_first(file_server: FileServer) -> None:
    file_server.publish("counterfact", FACTS)

    code, lines = data("fetch", "counterfact", "--mirror", "http://127.0.0.1:9", "--mirror", f"{file_server.base}/m/")

    assert code == 0
    assert lines[0].startswith("fetching counterfact, once: http://127.0.0.1:9/counterfact.json")
    assert [path for path, _ in file_server.asked] == ["/m/counterfact.json"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("fetch", "conterfact"), 2, "'conterfact' is no published set; did you mean 'counterfact'?"),
        (("fetch", "hard"), 2, "'hard' comes with the package; there is nothing to fetch"),
        (("fetch", "default"), 2, "'default' comes with the package"),
        (("fetch", "hardcf"), 2, "has no address of its own; download it from https://drive.google.com"),
        (("fetch", "zsre", "hardcf", "--from", "x.json"), 2, "is one file, and zsre, hardcf are several sets"),
        (("fetch", "zsre", "--from", "x.json"), 2, "--from 'x.json' is no file; give the file of zsre"),
        (("fetch", "zsre", "--from", "."), 2, "--from '.' is a directory; give the file of zsre in it"),
        (("fetch", "zsre", "--mirror", "there"), 2, "--mirror: 'there' is no web address"),
        (("check", "nothing.json"), 2, "SOURCE 'nothing.json' is no file"),
        (("check", "counterfct"), 2, "did you mean 'counterfact'?"),
        (("check", "."), 2, "SOURCE '.' is a directory"),
        (("check", "hard", "--kind", "facts"), 2, "--kind: 'facts' is no kind; give one of requests, texts"),
        (("show", "hard", "--record", "-1"), 2, "--record: '-1' is no position; give 0 or more"),
        (("show", "hard", "--record", "72"), 2, "--record 72: 'hard' has 72 records; give 0 to 71"),
        (("show", "hard", "--limit", "0"), 2, "--limit: '0' is no positive whole number"),
    ],
)
def test_wrong_input_is_named(
    words: tuple[str, ...], code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    given, lines = data(*words)

    assert given == code
    assert message in lines[-1]


def test_a_sound_file_is_counted(tmp_path: Path) -> None:
    records = [FACT, {**FACT, "target_new": "Po"}, FACT]
    source = write(tmp_path / "facts.json", records)

    code, lines = data("check", source)

    assert code == 0
    assert lines == [
        f"{source}: requests in EasyEdit's flat layout",
        "usable 3",
        "broken 0",
        "duplicates 1",
        "conflicting 1",
        f"SHA-256 {hashlib.sha256(json.dumps(records).encode()).hexdigest()}",
        "facts:0002 repeats facts:0000",
    ]


def test_broken_records_are_named_up_to_twenty(tmp_path: Path) -> None:
    lines = [json.dumps(FACT), "{", *(json.dumps({**FACT, "subject": f"x{index}"}) for index in range(30))]
    source = write(tmp_path / "facts.jsonl", "\n".join(lines))

    code, said = data("check", source)

    assert code == 1
    assert said[1:3] == ["usable 1", "broken 31"]
    assert said[6].startswith("line 2: is not valid JSON at line 2, column 2")
    assert said[7].startswith("line 3: field 'subject' is 'x0', which is not in the prompt")
    assert said[25].startswith("line 21: ")
    assert said[26:] == ["and 11 more broken"]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("facts.json", "[{]", "is not valid JSON at line 1, column 3"),
        ("facts.json", "[]", "holds no records"),
        ("facts.jsonl", "", "holds no records"),
        ("facts.json", "", "holds no records"),
        ("facts.json", json.dumps([FACT, {"src": "Who?", "alt": "x"}]), "mixes layouts: record 0 is in EasyEdit's"),
        ("texts.txt", "", "is empty"),
    ],
)
def test_a_file_that_is_broken_as_a_whole_fails_alone(tmp_path: Path, name: str, content: str, problem: str) -> None:
    source = write(tmp_path / name, content)

    code, lines = data("check", source, "hard")

    assert code == 1
    assert lines[0].startswith(f"broken: SOURCE {source!r} {problem}")
    assert lines[1] == "hard: requests in EasyEdit's flat layout"


@pytest.mark.parametrize(
    ("name", "content", "count", "broken"),
    [
        ("t.json", ["One two", "Three four", "One two"], 3, []),
        (
            "t.json",
            [{"Corpus": "web", "Text": "One two"}, {"Text": ""}],
            1,
            ["record 1: the sentence is empty"],
        ),
        ("t.txt", "One two\n\nThree", 2, ["line 2: the sentence is empty"]),
    ],
)
def test_sentences_are_told_from_requests(
    tmp_path: Path, name: str, content: object, count: int, broken: list[str]
) -> None:
    code, lines = data("check", write(tmp_path / name, content))

    assert code == bool(broken)
    assert lines[0].endswith(": sentences")
    assert lines[1] == f"usable {count}"
    for problem in broken:
        assert any(line.startswith(problem) for line in lines)
    if not broken:
        assert lines[3] == "duplicates 1"
        assert lines[-1] == "sentence 2 repeats sentence 0"


def test_the_kind_may_be_given(tmp_path: Path) -> None:
    source = write(tmp_path / "t.json", [7])

    assert "record 0: is a number, not an object" in data("check", source)[1][-1]
    assert "record 0: 7 is not text" in data("check", source, "--kind", "texts")[1][-1]


def test_published_sets_are_fetched_to_be_checked(file_server: FileServer) -> None:
    file_server.publish("counterfact", json.dumps([FACT, {**FACT, "subject": "Wien"}]).encode())

    code, lines = data("check", "counterfact")

    assert code == 1
    assert lines[2] == "counterfact: requests in EasyEdit's flat layout"
    assert lines[-1].startswith("record 1: field 'subject' is 'Wien'")


def test_the_first_records_are_shown(tmp_path: Path) -> None:
    code, lines = data("show", "hard", "--limit", "2")
    assert code == 0
    assert lines[0] == "id prompt subject new old"
    assert lines[2].startswith("hard:0000 ")
    assert lines[-1] == "2 of 72; --limit shows more"

    code, lines = data("show", write(tmp_path / "t.txt", "One [two]\nThree"))
    assert code == 0
    assert lines[2:] == ["0 One [two]", "1 Three"]


def test_one_record_is_shown_as_it_stands_and_as_it_is_read(tmp_path: Path) -> None:
    source = write(tmp_path / "facts.json", [FACT, {**FACT, "ground_truth": ["Dönau"], "rome_ppl": 4.5}, 7, {"a": 1}])

    code, lines = data("show", source, "--record", "1")
    assert code == 0
    assert lines[0] == "record 1"
    assert '"rome_ppl": 4.5' in lines
    assert "ground_truth Dönau" in lines
    assert lines[-1] == "locality_ground_truth"

    assert data("show", source, "--record", "2")[1][-1].startswith("broken: is a number, not an object")
    unread = write(tmp_path / "l.jsonl", "{")
    assert data("show", unread, "--record", "0")[1][-1].startswith("broken: is not valid JSON")


def test_one_sentence_is_shown_as_it_stands(tmp_path: Path) -> None:
    texts = write(tmp_path / "t.json", [" ", {"Text": "One two"}])
    broken = "broken: the sentence is empty; remove it or give some text"

    assert data("show", texts, "--record", "0") == (0, ["record 0", '" "', broken])
    assert data("show", texts, "--record", "1") == (0, ["One two"])
    assert data("show", "default", "--record", "3") == (0, [" ".join(load_texts("default")[3].split())])
