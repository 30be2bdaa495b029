from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from collapse_tests.baseline.facts import facts_of_settings
from collapse_tests.baseline.file import write_baseline
from collapse_tests.baseline.reference import reference_for
from collapse_tests.errors import UsageError
from collapse_tests.settings import Downstream, Settings
from tests.unit.baseline.cases import outcome, scenario_outcome, snapshot

RUN = Settings(("rome",))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    file = tmp_path / "b.json"
    write_baseline(file, snapshot({"f:0": outcome()}, **facts_of_settings(RUN)))
    return replace(RUN, baseline=file)


def test_a_run_without_a_baseline_has_none() -> None:
    assert reference_for(RUN) is None


def test_a_baseline_of_the_same_settings(settings: Settings) -> None:
    found = reference_for(settings)

    assert found is not None
    assert found.baseline is found.kept
    assert found.kept is not None
    assert found.barriers == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 7},
        {"edits": ("hard",)},
        {"matmul_precision": "float32"},
        {"models": ("gpt2-xl",)},
        {"editors": ("ft",)},
        {"device": "cuda"},
    ],
)
def test_what_only_adds_noise_or_may_be_the_point_is_no_barrier(settings: Settings, changes: dict[str, object]) -> None:
    found = reference_for(replace(settings, **changes))  # type: ignore[arg-type]

    assert found is not None
    assert found.baseline is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ppl_limit": 500.0}, "--ppl-limit 500, was 1000;"),
        ({"ppl_texts": "default-1k"}, "--ppl-texts default-1k, was default;"),
        ({"dtype": "bfloat16"}, "--dtype bfloat16, was float32;"),
        ({"downstream": Downstream.NEVER}, "--downstream never, was auto;"),
        ({"tasks": ("piqa",), "gate_on_drop": True}, "--tasks piqa, was default; --gate-on-drop on, was off;"),
    ],
)
def test_what_forbids_a_comparison_is_refused(settings: Settings, changes: dict[str, object], message: str) -> None:
    other = replace(settings, **changes)  # type: ignore[arg-type]

    with pytest.raises(UsageError) as told:
        reference_for(other)

    assert message in str(told.value)
    assert "make it anew under these with --update-baseline" in str(told.value)
    made_anew = reference_for(replace(other, update_baseline=True))
    assert made_anew is not None
    assert made_anew.baseline is None
    assert made_anew.barriers


def test_runs_of_searches_alone_have_nothing_to_compare(settings: Settings) -> None:
    only_searches = replace(settings, edits=(), ppl_limit=5.0, machines=("hard",))

    assert reference_for(only_searches) is None
    with pytest.raises(UsageError, match="--update-baseline keeps single edits and scenarios and this run makes none"):
        reference_for(replace(only_searches, update_baseline=True))


def test_runs_of_scenarios_alone_need_a_baseline_that_has_some(settings: Settings) -> None:
    only_scenarios = replace(settings, edits=(), ppl_limit=5.0, scenarios=("hard",))
    assert reference_for(only_scenarios) is None

    assert settings.baseline is not None
    facts = facts_of_settings(replace(RUN, scenarios=("hard",)))
    known = {"hard": scenario_outcome()}
    write_baseline(settings.baseline, snapshot({}, known, **facts))
    with pytest.raises(UsageError, match="--ppl-limit 5, was 1000"):
        reference_for(only_scenarios)
    with pytest.raises(UsageError, match="this run: --downstream final, was auto; run under"):
        reference_for(
            replace(RUN, baseline=settings.baseline, scenarios=("hard",), edits=(), downstream=Downstream.FINAL)
        )
    found = reference_for(replace(RUN, baseline=settings.baseline, scenarios=("hard",), edits=()))
    assert found is not None
    assert found.baseline is not None
    assert list(found.baseline.scenarios) == ["tiny-rome-scenario:hard"]


def test_a_missing_file_is_an_error_unless_it_is_to_be_made(tmp_path: Path) -> None:
    missing = replace(RUN, baseline=tmp_path / "new" / "b.json")

    with pytest.raises(UsageError, match="there is no such file; make it with --update-baseline"):
        reference_for(missing)
    found = reference_for(replace(missing, update_baseline=True))
    assert found is not None
    assert found.kept is None


def test_files_that_cannot_be_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    update = replace(RUN, update_baseline=True)

    with pytest.raises(UsageError, match="is a directory; give a file, such as"):
        reference_for(replace(update, baseline=tmp_path))
    with pytest.raises(UsageError, match="file is a file; give a file in a directory"):
        reference_for(replace(update, baseline=tmp_path / "file" / "b.json"))
    with pytest.raises(UsageError, match="no JSON"):
        reference_for(replace(update, baseline=tmp_path / "file"))
    with pytest.raises(UsageError, match="name it with --baseline FILE"):
        reference_for(update)
