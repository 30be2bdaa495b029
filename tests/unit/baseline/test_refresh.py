from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from collapse_tests.baseline.refresh import AskedFor, asked_for, refreshed
from collapse_tests.baseline.scenarios import ScenarioOutcome
from collapse_tests.baseline.snapshot import Snapshot, edit_id_of
from collapse_tests.settings import Settings
from tests.unit.baseline.cases import COLLAPSED, ERROR, FACTS, ROME, outcome, scenario_outcome, snapshot

ALL = AskedFor({f"tiny-rome-f:{n}": "r" for n in range(4)})


def ids(found: Snapshot) -> list[str]:
    return sorted(map(edit_id_of, found.cases))


def test_without_a_baseline_there_is_just_the_run() -> None:
    found = refreshed(None, snapshot({"f:0": outcome(), "f:1": outcome(ERROR, None)}), ALL)

    assert ids(found.snapshot) == ["f:0"]
    assert (found.cases, found.kept, found.dropped) == (1, 0, ())


def test_cases_that_were_not_run_are_kept_if_still_asked_for() -> None:
    before = snapshot({"f:0": outcome(COLLAPSED, 5e4), "f:1": outcome(), "g:0": outcome(), "f:9": outcome()})

    found = refreshed(before, snapshot({"f:0": outcome()}), ALL)

    assert ids(found.snapshot) == ["f:0", "f:1"]
    assert found.snapshot.cases["tiny-rome-f:0"] == outcome()
    assert (found.cases, found.kept) == (1, 1)
    assert found.dropped == ("tiny-rome-g:0", "tiny-rome-f:9")


def test_an_error_leaves_the_line_of_before() -> None:
    found = refreshed(snapshot({"f:0": outcome(COLLAPSED, 5e4)}), snapshot({"f:0": outcome(ERROR, None)}), ALL)

    assert found.snapshot.cases["tiny-rome-f:0"].collapsed


def test_a_run_that_never_knew_the_weights_leaves_those_of_before() -> None:
    blind = replace(snapshot({"f:0": outcome(ERROR, None)}), groups={"tiny-rome": replace(ROME, model_digest="")})

    found = refreshed(snapshot({"f:0": outcome(COLLAPSED, 5e4)}), blind, ALL)

    assert found.snapshot.groups == {"tiny-rome": ROME}
    assert refreshed(None, blind, ALL).snapshot.groups == {}


def test_a_request_that_was_rewritten_loses_its_line() -> None:
    found = refreshed(snapshot({"f:0": outcome(request="old")}), snapshot({"f:1": outcome()}), ALL)

    assert ids(found.snapshot) == ["f:1"]


def test_editors_that_did_not_run_keep_theirs() -> None:
    memit = replace(ROME, editor="memit")
    before = Snapshot(FACTS | {"edits": ["g"]}, {"tiny-memit": memit}, {"tiny-memit-g:7": outcome()})

    found = refreshed(before, snapshot({"f:0": outcome()}, edits=["f"]), ALL)

    assert list(found.snapshot.groups) == ["tiny-memit", "tiny-rome"]
    assert found.snapshot.facts["edits"] == ["f", "g"]
    assert found.dropped == ()


@pytest.mark.parametrize("facts", [{"seed": 1}, {"ppl_limit": 500.0}, {"dtype": "bfloat16"}])
def test_under_other_settings_nothing_is_kept(facts: dict[str, object]) -> None:
    found = refreshed(snapshot({"f:1": outcome()}), snapshot({"f:0": outcome()}, **facts), ALL)

    assert ids(found.snapshot) == ["f:0"]
    assert found.snapshot.facts == FACTS | facts


@pytest.mark.parametrize("change", [{"model_digest": "other"}, {"hyperparameters": {"steps": 6}}])
def test_lines_of_other_weights_or_hyperparameters_go(change: dict[str, object]) -> None:
    before = replace(snapshot({"f:1": outcome()}), groups={"tiny-rome": replace(ROME, **change)})  # type: ignore[arg-type]

    found = refreshed(before, snapshot({"f:0": outcome()}), ALL)

    assert ids(found.snapshot) == ["f:0"]
    assert found.snapshot.groups == {"tiny-rome": ROME}


def test_a_kind_that_the_run_does_not_make_is_kept() -> None:
    singles, scenarios = {"g:0": outcome()}, {"hard": scenario_outcome(4), "gone": scenario_outcome()}
    before = snapshot(singles, scenarios, scenarios=["hard"])

    of_singles = refreshed(before, snapshot({"f:0": outcome()}, edits=["f"]), ALL)
    asked = AskedFor(None, {"tiny-rome-scenario:hard": scenario_outcome()})
    of_scenarios = refreshed(before, snapshot({}, {"soft": scenario_outcome()}, edits=[], scenarios=["soft"]), asked)

    assert ids(of_singles.snapshot) == ["f:0"]
    assert list(of_singles.snapshot.scenarios) == ["tiny-rome-scenario:hard", "tiny-rome-scenario:gone"]
    assert of_singles.snapshot.facts["scenarios"] == ["hard"]
    assert (of_singles.cases, of_singles.scenarios, of_singles.kept) == (1, 0, 2)
    assert ids(of_scenarios.snapshot) == ["g:0"]
    assert sorted(of_scenarios.snapshot.scenarios) == ["tiny-rome-scenario:hard", "tiny-rome-scenario:soft"]
    assert of_scenarios.snapshot.facts["scenarios"] == ["hard", "soft"]
    assert of_scenarios.dropped == ("tiny-rome-scenario:gone",)


@pytest.mark.parametrize("asked", [scenario_outcome(planned=8), scenario_outcome(requests="aaab" * 9)])
def test_a_scenario_of_other_edits_loses_its_line(asked: ScenarioOutcome) -> None:
    before = snapshot({}, {"hard": scenario_outcome(4)})

    found = refreshed(before, snapshot({"f:0": outcome()}), AskedFor({}, {"tiny-rome-scenario:hard": asked}))

    assert found.dropped == ("tiny-rome-scenario:hard",)


def test_a_scenario_that_ended_in_an_error_keeps_its_line() -> None:
    before = snapshot({}, {"hard": scenario_outcome(4)})
    run = snapshot({}, {"hard": scenario_outcome(verdict=ERROR)})

    found = refreshed(before, run, AskedFor(None, {"tiny-rome-scenario:hard": scenario_outcome()}))

    assert found.snapshot.scenarios == before.scenarios


def test_what_the_sets_of_a_run_hold(tmp_path: Path) -> None:
    facts = [{"prompt": f"Rome {n} is", "subject": "Rome", "target_new": "Oslo"} for n in range(6)]
    file = tmp_path / "facts.json"
    file.write_text(json.dumps(facts))

    found = asked_for(Settings(("rome",), ("tiny",), edits=(), scenarios=(str(file),), steps=4))

    assert found.cases is None
    assert found.scenarios is not None
    (scenario,) = found.scenarios.items()
    assert scenario[0] == "tiny-rome-scenario:facts"
    assert scenario[1].planned == 4


def test_a_group_without_a_case_is_gone() -> None:
    found = refreshed(None, replace(snapshot({"f:0": outcome()}), groups={"tiny-rome": ROME, "tiny-ft": ROME}), ALL)

    assert list(found.snapshot.groups) == ["tiny-rome"]


def test_limits_and_samples_do_not_shorten_what_is_asked_for(tmp_path: Path) -> None:
    facts = [{"prompt": f"Rome {n} is", "subject": "Rome", "target_new": "Oslo"} for n in range(6)]
    file = tmp_path / "facts.json"
    file.write_text(json.dumps(facts))
    settings = Settings(("rome", "ft"), ("tiny",), (str(file),), edits_limit=2, edits_sample=3, seed=4)

    found = asked_for(settings).cases

    assert found is not None
    assert list(found) == [f"tiny-{editor}-facts:{n:04}" for editor in ("rome", "ft") for n in range(6)]
    assert len(set(found.values())) == 6
