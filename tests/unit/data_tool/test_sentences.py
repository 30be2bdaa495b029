"""`collapse-data sentences` as it is typed."""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from collapse_tests.data_tool.main import app
from collapse_tests.datasets.texts import load_texts
from tests.unit.hub_library import HubLibrary

PLACES = ["market", "harbour", "village", "station", "museum", "garden", "forest", "castle", "valley", "island"]
PEOPLE = ["farmer", "baker", "teacher", "sailor", "doctor", "painter", "writer", "singer", "lawyer", "miller"]


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def data(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["sentences", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, " ".join(done.output.split())


@pytest.fixture
def corpora(tmp_path: Path) -> list[str]:
    """Options of two corpora with 100 usable sentences each."""
    options = []
    for name, verb in (("wiki", "walked"), ("news", "rode")):
        lines = [
            f"In the morning the {one} {verb} from the {place} to the sea and came home late."
            for one in PEOPLE
            for place in PLACES
        ]
        path = tmp_path / f"{name}.txt"
        path.write_text("\n\n".join(lines), encoding="utf-8")
        options += ["--corpus", f"{name}={path}"]
    return options


def test_nested_sets_are_written_with_their_card(tmp_path: Path, corpora: list[str]) -> None:
    out = tmp_path / "sets"
    status, text = data(*corpora, "--out", out, "--size", 100, "--subsets", "40,10", "--seed", 3)
    assert status == 0
    assert f"{out / 'me-ppl-100.json'}: 100 sentences" in text
    sets = {size: json.loads((out / f"me-ppl-{size}.json").read_bytes()) for size in (100, 40, 10)}
    assert sets[100][:40] == sets[40]
    assert sets[40][:10] == sets[10]
    # Shares of 1000 and 700.
    assert [sum(row["Corpus"] == "wiki" for row in rows) for rows in sets.values()] == [59, 24, 6]
    assert load_texts(str(out / "me-ppl-40.json")) == tuple(row["Text"] for row in sets[40])
    card = (out / "me-ppl.md").read_text(encoding="utf-8")
    for path in (*out.glob("*.json"), tmp_path / "wiki.txt"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in card
    assert "| in the set of 40 | 24 | 16 | 40 |" in card
    assert "Seed 3." in card


def test_the_command_of_the_card_builds_the_same_bytes(tmp_path: Path, corpora: list[str]) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    assert data(*corpora, "--out", first, "--size", 60, "--subsets", "20", "--seed", 5)[0] == 0
    card = (first / "me-ppl.md").read_text(encoding="utf-8")
    command = next(line for line in card.splitlines() if line.startswith("    collapse-data sentences "))
    assert data(*(second if word == "DIR" else word for word in shlex.split(command)[2:]))[0] == 0
    files = {path.name: path.read_bytes() for path in first.iterdir()}
    assert files == {path.name: path.read_bytes() for path in second.iterdir()}
    assert len(files) == 3


def test_nothing_is_overwritten_unless_asked(tmp_path: Path, corpora: list[str]) -> None:
    arguments = [*corpora, "--out", tmp_path / "sets", "--size", "10", "--subsets", "none"]
    assert data(*arguments)[0] == 0
    before = (tmp_path / "sets" / "me-ppl-10.json").read_bytes()
    status, text = data(*arguments, "--seed", "1")
    assert status == 2
    assert "holds me-ppl-10.json, me-ppl.md already; give another directory, or --force" in text
    assert (tmp_path / "sets" / "me-ppl-10.json").read_bytes() == before
    assert data(*arguments, "--seed", "1", "--force")[0] == 0
    assert (tmp_path / "sets" / "me-ppl-10.json").read_bytes() != before


def test_too_few_sentences_write_nothing(tmp_path: Path, corpora: list[str]) -> None:
    status, text = data(*corpora, "--out", tmp_path / "sets")
    assert status == 2
    assert "has 100 usable sentences of 5,882 wanted" in text
    assert not list((tmp_path / "sets").iterdir())
    status, text = data(*corpora, "--out", tmp_path / "sets", "--allow-fewer")
    assert status == 0
    assert "me-ppl-10000.json: 200 sentences" in text


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--size", "0"], "--size: '0' is no positive whole number"),
        (["--size", "1"], "--size 1 is less than the 2 corpora"),
        (["--size", "10", "--subsets", "10"], "--subsets: 10 is not below --size 10"),
        (["--subsets", "5,,2"], "--subsets: '5,,2' has an empty name in it"),
        (["--seed", "x"], "--seed: 'x' is no seed"),
        (["--share", "wiki"], "--share: 'wiki' is not of the form NAME=N"),
        (["--corpus", "x"], "--corpus: 'x' is not of the form NAME=SOURCE"),
        (["--corpus", "x=/nowhere/at/all.txt", "--share", "x=1"], "corpus 'x': '/nowhere/at/all.txt' is no file"),
        (["--hub-megabytes", "-1"], "--hub-megabytes: '-1' is no positive whole number"),
    ],
)
def test_wrong_input_is_refused_before_the_work(
    tmp_path: Path, corpora: list[str], arguments: list[str], problem: str
) -> None:
    status, text = data(*corpora, "--out", tmp_path / "sets", *arguments)
    assert status == 2
    assert f"error: {problem}" in text
    assert "reading" not in text


def test_a_file_is_no_place_for_the_sets(tmp_path: Path, corpora: list[str]) -> None:
    for out in (tmp_path / "wiki.txt", tmp_path / "wiki.txt" / "below"):
        status, text = data(*corpora, "--out", out)
        assert status == 2
        assert "is a file; give a directory" in text or "cannot be made" in text


def test_the_command_of_the_card_names_the_commit_of_a_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_network: None
) -> None:
    text = "In the morning the farmer walked from the market to the sea and came home late."
    for name in ("datasets", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, name, HubLibrary([[{"body": text}]]))
    given = ("--corpus", "x=hub:some/encyclopaedia/no@v1:body")
    assert data(*given, "--out", tmp_path, "--size", 1)[0] == 0
    card = (tmp_path / "me-ppl.md").read_text(encoding="utf-8")
    assert "    collapse-data sentences --corpus x=hub:some/encyclopaedia/no@sha-of-v1:body --share " in card
    assert "- x: `hub:some/encyclopaedia/no@v1`, field `body`" in card


def test_names_with_brackets_are_printed_as_they_are(tmp_path: Path) -> None:
    text = "In the morning the farmer walked from the market to the sea and came home late."
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    out = tmp_path / "out[/m]"
    status, output = data("--corpus", f"a[/b]={tmp_path / 'a.txt'}", "--out", out, "--size", 1)
    assert status == 0
    assert "reading a[/b] (" in output
    assert f"{out / 'me-ppl-1.json'}: 1 sentence " in output


def test_the_study_corpora_are_added(
    tmp_path: Path, corpora: list[str], monkeypatch: pytest.MonkeyPatch, own_network: None
) -> None:
    monkeypatch.setenv("PYTEST_COLLAPSE_OFFLINE", "1")
    status, text = data(*corpora, "--study-corpora", "--out", tmp_path / "sets")
    assert status == 2
    assert "corpus 'BookCorpus' (hub:bookcorpus/bookcorpus@refs/convert/parquet) is on the hub" in text


def test_help_imports_no_framework() -> None:
    program = (
        "import sys\nfrom collapse_tests.data_tool.main import app\n"
        "try:\n    app(['sentences', '--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'transformers', 'datasets', 'sentencex', 'py3langid'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--study-corpora" in done.stdout
