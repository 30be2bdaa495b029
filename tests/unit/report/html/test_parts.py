from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collapse_tests.environment import fingerprint
from collapse_tests.errors import UsageError
from collapse_tests.override_values import parse_overrides
from collapse_tests.records import Record, Verdict
from collapse_tests.report.html.distribution import Distribution, distributions
from collapse_tests.report.html.nearest import NearestStable
from collapse_tests.report.html.reruns import Reruns
from collapse_tests.report.html.run_data import read_run
from collapse_tests.report.html.texts import cut, distinct, edit, shown, slug
from collapse_tests.settings import Downstream, Settings
from tests.unit.report.html.conftest import detail


def test_long_text_keeps_its_end() -> None:
    text = shown("smollm2-135m-rome-" + "x" * 500 + ":0007")

    assert len(text) == 80
    assert text.startswith("smollm2-135m-rome-")
    assert text.endswith("…xxxxxxxxxxxxxxx:0007")


def test_text_of_any_length_and_kind_is_short() -> None:
    assert len(shown("\x00" * 100_000)) <= 80
    assert shown(None) == "–"
    assert shown("") == ""
    assert shown("line\nline") == "line\\nline"


def test_a_cut_says_how_much_is_missing() -> None:
    assert cut("abcdef", 4) == "abcd… (2 more characters)"
    assert cut("abcd", 4) == "abcd"


def test_an_edit_shows_its_answer_however_long_the_prompt_is() -> None:
    assert edit({"prompt": "p" * 500, "target_new": "soup"}, 60).endswith("→ soup")
    assert edit({}) == "– → –"


def test_names_become_distinct() -> None:
    assert distinct(["a", "b", "a", "a (2)", "a"]) == ["a", "b", "a (2)", "a (2) (2)", "a (3)"]


@pytest.mark.parametrize(("text", "expected"), [("Model/X: y", "model-x-y"), ("שלום", "x"), ("../..", "x"), ("", "x")])
def test_slugs_are_fit_for_files(text: str, expected: str) -> None:
    assert slug(text) == expected


def test_a_value_stands_among_the_others() -> None:
    values = Distribution("denominator", [0.01, 1.0, 2.0, 4.0, 8.0], "d")

    assert values.standing(0.01).text == "the lowest of 5"
    assert values.standing(8.0).text == "the highest of 5"
    assert values.standing(2.0).text == "above 40% and below 40% of 5"
    assert values.standing(0.01).position == 0
    assert values.standing(8.0).position == 1
    assert values.strip.logarithmic


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_has_no_place_on_the_axis(value: float) -> None:
    standing = Distribution("norm", [1.0, 2.0, value], "d").standing(value)

    assert standing.position is None
    assert standing.strip.bars


def test_values_at_the_ends_of_floating_point_have_places() -> None:
    values = Distribution("norm", [-1.7e308, 0.0, 1.7e308], "d")

    assert [values.standing(value).position for value in (-1.7e308, 0.0, 1.7e308)] == [0.0, 0.5, 1.0]


def test_numbers_that_are_the_same_everywhere_are_left_out(make_record: Callable[..., Record]) -> None:
    records = [
        make_record(f"a:{index}", Verdict.STABLE, 200.0, diagnostics={"block": 5.0, "denominator": float(index)})
        for index in range(3)
    ]

    assert list(distributions(records, "d")) == ["denominator"]


def shaped(make_record: Callable[..., Record], edit_id: str, prompt: str, subject: str) -> Record:
    return make_record(edit_id, Verdict.STABLE, 200.0, request={"prompt": prompt, "subject": subject})


def test_nearest_agrees_on_where_the_subject_stands(make_record: Callable[..., Record]) -> None:
    opens = shaped(make_record, "a:0", "Granite is a rather long sentence about some", "Granite")
    later = shaped(make_record, "a:1", "A sort of Granite is", "Granite")
    nearest = NearestStable([opens, later, make_record("a:2", Verdict.COLLAPSED, 5e4)])

    assert nearest.to(shaped(make_record, "b:0", "France is in", "France")) is opens
    assert nearest.to(shaped(make_record, "b:1", "The capital of France is", "France")) is later


def test_of_equally_near_ones_the_first_is_taken(make_record: Callable[..., Record]) -> None:
    first, second = (shaped(make_record, f"a:{one}", "Granite is a", "Granite") for one in range(2))

    assert NearestStable([first, second]).to(second) is first
    assert NearestStable([]).to(first) is None


def plain(settings: Settings) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(json.dumps({"settings": fingerprint(settings)["settings"]}))
    return data


def test_a_command_is_made_from_the_settings_of_the_run(make_record: Callable[..., Record]) -> None:
    settings = Settings(
        editors=("rome", "ft"),
        edits=("hard", "my facts.json"),
        seed=3,
        downstream=Downstream.EACH,
        tasks_data=Path("data/tasks"),
        ppl_limit=500.0,
        overrides=tuple(parse_overrides("rome.steps=3")),
    )

    words = shlex.split(Reruns(plain(settings)).of(make_record("hard:0001", Verdict.COLLAPSED, 5e4)) or "")

    expected = ["pytest", "--editor", "rome", "--model", "smollm2-135m", "--edits", "hard,my facts.json"]
    expected += ["--ppl-limit", "500", "--tasks-data", "data/tasks", "--downstream", "each", "--seed", "3"]
    assert words == [*expected, "--set", "rome.steps=3", "-k", "[smollm2-135m-rome-hard:0001]"]


@pytest.mark.parametrize("environment", [{}, {"settings": None}, {"settings": {"models": 3, "downstream": "soon"}}])
def test_without_settings_there_is_no_command(make_record: Callable[..., Record], environment: dict[str, Any]) -> None:
    assert Reruns(environment).of(make_record("hard:0001", Verdict.COLLAPSED, 5e4)) is None


def test_settings_of_another_version_are_read_as_far_as_they_are_known(make_record: Callable[..., Record]) -> None:
    environment = {"settings": {"editors": ["rome"], "edits": ["hard"], "not_known_here": 1}}

    assert "--edits hard" in (Reruns(environment).of(make_record("hard:0001", Verdict.COLLAPSED, 5e4)) or "")


def written(folder: Path, record: Record) -> Path:
    (folder / "records.jsonl").write_text(json.dumps(record.to_dict()) + "\n")
    return folder


def test_a_run_is_read_from_its_directory_or_its_records(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    record = make_record("hard:0001", Verdict.COLLAPSED, math.inf)
    written(tmp_path, record)
    (tmp_path / "environment.json").write_text('{"python": "3.12"}')
    (tmp_path / "details.jsonl").write_text(json.dumps(detail(record.case_id).to_dict()) + "\n")

    run = read_run(tmp_path)

    assert run == read_run(tmp_path / "records.jsonl")
    assert run.records == [record]
    assert run.details[record.case_id] == detail(record.case_id)
    assert run.environment == {"python": "3.12"}
    assert run.problems == ()


@pytest.mark.parametrize("environment", ["", "[]", "{", "\xff"])
def test_broken_extras_are_named_and_done_without(
    tmp_path: Path, make_record: Callable[..., Record], environment: str
) -> None:
    written(tmp_path, make_record("hard:0001", Verdict.COLLAPSED, 5e4))
    (tmp_path / "environment.json").write_text(environment, encoding="latin-1")
    (tmp_path / "details.jsonl").write_text('{"schema": 99}\n')

    run = read_run(tmp_path)

    assert len(run.records) == 1
    assert run.details == {}
    assert [problem.endswith("the page does without") for problem in run.problems] == [True, True]


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no run in .*give a run's directory"):
        read_run(tmp_path)
