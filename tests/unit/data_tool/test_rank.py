"""`collapse-data rank` as it is typed."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from collapse_tests.cache import CACHE_VARIABLE
from collapse_tests.cases import Case
from collapse_tests.data_tool.main import app
from collapse_tests.datasets.requests import load_requests
from collapse_tests.settings import Settings
from tests.unit.mining.cases import record, write_run
from tests.unit.mining.editors import Knowing, write_facts

Save = Callable[[str], Path]
KINDS = ("mild", "large", "endless", "raises", "nothing", "mild", "large")
KNOWING = f"{Knowing.__module__}:Knowing"
#: What `Knowing` says of `KINDS`: the endless and what is no number before the large and the mild, and no word of one.
ORDER = [4, 2, 1, 6, 0, 5, 3]
#: What came of the edits, by number; one ended in an error.
OUTCOMES: Mapping[int, float | None] = {0: 300.0, 1: 9e3, 2: math.inf, 4: math.nan, 5: 300.0, 6: 300.0, 3: None}


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    write_facts(Path("facts.jsonl"), KINDS)


@pytest.fixture
def model(saved_tiny_model: Save, tmp_path: Path) -> str:
    """A tiny model that takes texts as long as the default sentences."""
    shutil.copytree(saved_tiny_model("llama"), tmp_path / "tiny")
    config = json.loads(Path("tiny/config.json").read_text("utf-8"))
    Path("tiny/config.json").write_text(json.dumps(config | {"max_position_embeddings": 512}), "utf-8")
    return "tiny"


def data(*arguments: str) -> tuple[int, list[str]]:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, [" ".join(line.split()) for line in done.output.splitlines()]


def rank(model: str, *more: str, editor: str = KNOWING) -> tuple[int, list[str]]:
    return data("rank", "facts.jsonl", "--model", model, "--editor", editor, "--device", "cpu", *more)


def written(file: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(file).read_text("utf-8").splitlines()]


def rows(lines: list[str]) -> list[str]:
    """The rows of the ranking: place, id and the rest."""
    return [line for line in lines if re.match(r"\d+ facts:", line)]


def write_outcomes(
    place: str, model: str, editor: str = KNOWING, me_ppls: Mapping[int, float | None] = OUTCOMES
) -> str:
    """A run in which the edits of these numbers were made."""
    requests = load_requests("facts.jsonl")
    records = [
        record(Case(model, editor, f"other:{number}", requests[number].request), me_ppl)
        for number, me_ppl in me_ppls.items()
    ]
    write_run(Path(place), Settings((editor,), (model,), seed=99), records)
    return place


def test_the_riskiest_come_first(model: str) -> None:
    code, lines = rank(model, "--show", "4")
    assert code == 0, lines
    assert rows(lines) == [
        "1 facts:0004 City 4 nothing is in → Oslo nan",
        "2 facts:0002 City 2 endless is in → Oslo inf",
        "3 facts:0001 City 1 large is in → Oslo 5.00",
        "4 facts:0006 City 6 large is in → Oslo 5.00",
    ]
    assert f"{model} under {KNOWING}: the 4 riskiest of 7 requests" in lines
    (silent,) = [line for line in lines if "no risk" in line]
    assert silent.endswith("; the first, facts:0003: knowing raised KeyError: 'raises'")


def test_all_of_them_are_written_in_this_order_and_can_be_read(model: str) -> None:
    code, lines = rank(model, "--out", "ranked.jsonl", "--show", "1")
    assert code == 0, lines
    found = written("ranked.jsonl")
    assert [record["source"] for record in found] == [f"facts:000{number}" for number in ORDER]
    assert [record["risk"] for record in found] == ["nan", "inf", 5.0, 5.0, 1.0, 1.0, "-inf"]
    assert {(record["model"], record["editor"]) for record in found} == {(model, KNOWING)}
    original = {named.edit_id: named.request for named in load_requests("facts.jsonl")}
    ranked = [named.request for named in load_requests("ranked.jsonl")]
    assert ranked == [original[record["source"]] for record in found]
    assert "7 requests, the riskiest first, are in ranked.jsonl" in lines


def test_two_editors_are_ranked_apart(model: str) -> None:
    code, lines = rank(model, "--out", "ranked.jsonl", editor=f"{KNOWING},rome")
    assert code == 0, lines
    found = written("ranked.jsonl")
    assert [record["editor"] for record in found] == [KNOWING] * 7 + ["rome"] * 7
    risks = [record["risk"] for record in found[7:]]
    assert risks == sorted(risks, reverse=True)
    assert [line.endswith("risk denom.") for line in lines if line.startswith("id edit risk")] == [False, True]


def test_hyperparameters_count(model: str) -> None:
    rank(model, "--out", "four.jsonl", editor="rome")
    rank(model, "--out", "eight.jsonl", "--set", "rome.clamp_norm_factor=8", editor="rome")
    four, eight = written("four.jsonl"), written("eight.jsonl")
    assert [record["source"] for record in four] == [record["source"] for record in eight]
    assert [record["risk"] for record in eight] == pytest.approx([2 * record["risk"] for record in four], rel=1e-6)


def test_the_unedited_models_own_perplexity_decides_nothing(model: str) -> None:
    """A model that the gate would refuse to judge edits on can still be asked."""
    code, lines = rank(model)
    assert code == 0, lines
    (told,) = [line for line in lines if line.startswith("unedited tiny: ME-PPL ")]
    assert float(told.split()[-1].replace(",", "")) > 0


def test_what_is_in_names_and_prompts_is_shown_and_never_taken_for_markup(model: str) -> None:
    subject = "[bold]x"
    fact = {"prompt": f"{subject} is in", "subject": subject, "target_new": "[/red] Oslo"}
    Path("facts.jsonl").write_text(json.dumps(fact), "ascii")
    code, lines = rank(model, editor="rome")
    assert code == 0, lines
    assert any("[bold]x is in → [/red] Oslo" in line for line in rows(lines))


# Compared with what came of the edits -------------------------------------------------------------------------


@pytest.mark.parametrize("inside", [False, True])
def test_outcomes_stand_beside_the_risks_and_are_counted(model: str, inside: bool) -> None:
    place = write_outcomes("runs", model)
    if inside:
        (place,) = map(str, Path("runs").iterdir())
    code, lines = rank(model, "--outcomes", place, "--tested", "1,4,1000")
    assert code == 0, lines
    assert [line.split()[-1] for line in rows(lines)] == ["nan", "inf", "9,000", "300.00", "300.00", "300.00", "error"]
    assert "3 of 6 edits collapsed; area under the ROC curve: 1.0000" in lines
    table = lines[lines.index("tested, riskiest first collapses as many at random precision recall") + 2 :]
    assert table[:3] == ["1 1 0.50 100% 33%", "4 3 2.00 75% 100%", "6 3 3.00 50% 100%"]


def test_edits_without_an_outcome_are_left_out(model: str) -> None:
    place = write_outcomes("runs", model, me_ppls={0: 9000.0, 6: 300.0})
    code, lines = rank(model, "--outcomes", place)
    assert code == 0, lines
    assert "1 of 2 edits collapsed; area under the ROC curve: 0.0000" in lines
    assert rows(lines)[0] == "1 facts:0004 City 4 nothing is in → Oslo nan"


def test_one_kind_of_outcome_has_no_area(model: str) -> None:
    place = write_outcomes("runs", model, me_ppls={0: 300.0, 6: 300.0})
    code, lines = rank(model, "--outcomes", place, "--tested", "1")
    assert code == 0, lines
    assert "0 of 2 edits collapsed; area under the ROC curve: none can be told" in lines
    assert "1 0 0.00 0% –" in lines


# Wrong input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--editor", "romee"), "did you mean 'rome'"),
        (("--model", "gpt2xl"), "did you mean 'gpt2-xl'"),
        (("--show", "0"), "--show: '0' is no positive whole number"),
        (("--tested", "1,x"), "--tested: 'x' is no positive whole number"),
        (("--tested", "1,,2"), "--tested: '1,,2' has an empty name"),
        (("--outcomes", "none"), "--outcomes: 'none' is no run's directory and holds none; give one that has records"),
        (("--outcomes", "folder"), "--outcomes: 'folder' is no run's directory"),
        (("--outcomes", "facts.jsonl"), "--outcomes: 'facts.jsonl' is no run's directory"),
        (("--outcomes", ""), "--outcomes: '' is empty"),
        (("--outcomes", "others"), "--outcomes 'others' has no outcome of tiny under rome for these requests; give"),
        (("--outcomes", "errors"), "--outcomes 'errors' has no outcome of tiny under rome for these requests"),
        (("--outcomes", "half"), "--outcomes 'half' has no outcome of tiny under ft for these requests"),
        (("--outcomes", "damaged"), "not a record"),
        (("--out", "ranked.json"), "end it in .jsonl"),
        (("--out", "folder"), "--out 'folder' is a directory"),
        (("--out", "no/such/ranked.jsonl"), "there is no directory 'no/such'"),
        (("--set", "memit.steps=3"), "--set memit.steps: the editor here is rome or ft; name that"),
        (("--set", "rome.stepz=3"), "--set rome.stepz"),
        (("--edits-limit", "x"), "--edits-limit: 'x'"),
        (("--device", "tpu"), "--device: 'tpu' is no device"),
        (("--device-map", "auto", "--device", "cpu"), "--device cpu is one device"),
        (("none.jsonl",), "--edits 'none.jsonl'"),
        (("empty.jsonl",), "--edits 'empty.jsonl' holds no records"),
    ],
)
def test_wrong_input_is_named_before_any_model_is_loaded(
    model: str, arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*given: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("collapse_tests.engine.gate.load_model", never)
    Path("folder").mkdir()
    Path("empty.jsonl").write_text("", "ascii")
    write_outcomes("others", "another-model", "rome")
    write_outcomes("errors", model, "rome", {0: None, 1: None})
    write_outcomes("half", model, "rome")
    (damaged,) = Path(write_outcomes("damaged", model, "rome")).iterdir()
    (damaged / "records.jsonl").write_text("[]\n", "ascii")
    code, lines = data("rank", "facts.jsonl", "--model", model, "--editor", "rome,ft", *arguments)
    assert code == 2
    assert message in " ".join(lines)
    assert not Path("ranked.jsonl").exists()


def test_an_editor_that_changes_the_weights_is_an_error(model: str) -> None:
    code, lines = rank(model, editor="tests.unit.engine.test_preflight:Untidy")
    assert code == 1
    assert "left the model changed: model.layers.1.mlp.down_proj.weight" in " ".join(lines)
