"""Scenarios: where a model collapses, what is kept when something goes wrong, and what a record says."""

from __future__ import annotations

import gc
import math
import weakref
from dataclasses import replace

import pytest
import torch

from collapse_tests.edit_request import EditRequest
from collapse_tests.errors import ErrorKind, InfrastructureError
from collapse_tests.models.editable import EditableModel
from collapse_tests.records import TaskResult, TaskVerdict, Verdict
from collapse_tests.sequence.lab import SequenceLab
from collapse_tests.sequence.scenario import ScenarioRunner
from collapse_tests.sequence_record import SequenceKind, SequenceRecord
from collapse_tests.settings import Downstream, Settings
from collapse_tests.weight_update import DenseDelta, WeightUpdate
from fixtures.tiny_models import FAMILIES, make_model
from tests.unit.sequence.fakes import (
    LIMA,
    NORWAY,
    PARIS,
    POOL,
    ROME,
    SETTINGS,
    Fake,
    Rule,
    case_of,
    dense,
    harmless,
    is_edited,
    lab_of,
    nothing,
    ruin,
    ruin_where,
    to_nan,
    weight_of,
)

FULL = replace(SETTINGS, full_curve=True)


def run(lab: SequenceLab, settings: Settings = SETTINGS, *requests: object) -> SequenceRecord:
    return ScenarioRunner(lab, settings, "gw3").run(case_of(*requests))  # type: ignore[arg-type]


def raising(subject: str, rule: Rule = harmless) -> Rule:
    def edit(model: EditableModel, request: EditRequest) -> WeightUpdate:
        if request.subject == subject:
            raise ValueError(f"no {subject} today")
        return rule(model, request)

    return edit


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rule", [harmless, dense])
def test_a_model_that_survives(family: str, rule: Rule) -> None:
    lab = lab_of(Fake(rule), family)
    record = run(lab)

    assert record.case_id == "tiny-fake-scenario:facts"
    assert (record.kind, record.name, record.worker, record.planned) == (SequenceKind.SCENARIO, "facts", "gw3", 4)
    assert record.collapsed_after is None
    assert record.error is None
    assert [step.edit_id for step in record.steps] == [named.edit_id for named in POOL]
    assert [step.earlier for step in record.steps] == [0, 1, 2, 3]
    drifts = [step.drift for step in record.steps]
    assert drifts == sorted(drifts)
    assert drifts[0] > 0
    assert record.unedited == lab.root.perplexity
    assert record.model_digest == lab.model.digest
    assert [request["prompt"] for request in record.requests] == [named.request.prompt for named in POOL]
    assert all(step.seconds > 0 for step in record.steps)
    assert record.seconds >= sum(step.seconds for step in record.steps)


def test_edits_that_do_not_take_are_counted() -> None:
    record = run(lab_of(Fake(nothing)))
    lost = [step.edit_id for step in record.steps if not step.success]
    assert 0 < len(lost) < 4
    assert record.verdict is Verdict.INEFFECTIVE
    assert record.reasons == (f"{len(lost)} of 4 edits did not take: {', '.join(lost)}",)

    took = [named for named in POOL if named.edit_id not in lost]
    record = run(lab_of(Fake(nothing)), SETTINGS, *took)
    assert record.verdict is Verdict.STABLE
    assert record.reasons == ()


def test_a_collapse_at_once_ends_the_scenario() -> None:
    editor = Fake(ruin)
    record = run(lab_of(editor))
    assert record.verdict is Verdict.COLLAPSED
    assert record.collapsed_after == 1
    assert len(record.steps) == len(editor.asked) == 1
    assert record.planned == 4
    assert "at or above the limit 5,000" in record.reasons[0]


def test_a_collapse_after_the_second_edit_of_a_kind() -> None:
    """Two requests ask for a capital; each alone is harmless."""
    kinds = ruin_where(lambda model, request: request.prompt.startswith("The capital") and is_edited(model))
    record = run(lab_of(Fake(kinds)), SETTINGS, NORWAY, ROME, PARIS, LIMA, PARIS)
    assert record.verdict is Verdict.COLLAPSED
    assert record.collapsed_after == len(record.steps) == 4
    assert run(lab_of(Fake(kinds)), SETTINGS, LIMA).collapsed_after is None


def test_a_full_curve_goes_on_after_the_collapse() -> None:
    limit = 5000.0
    record = run(lab_of(Fake(ruin)), FULL)
    assert record.verdict is Verdict.COLLAPSED
    assert record.collapsed_after == 1
    assert len(record.steps) == 4
    values = [step.perplexity.me_ppl for step in record.steps]
    assert values[0] >= limit
    assert math.isinf(values[-1])  # and past infinity
    assert record.notes == ()


def test_a_full_curve_goes_on_past_nan() -> None:
    record = run(lab_of(Fake(to_nan)), FULL)
    assert record.verdict is Verdict.COLLAPSED
    assert record.collapsed_after == 1
    assert [math.isnan(step.perplexity.me_ppl) for step in record.steps] == [True] * 4
    assert [step.success for step in record.steps] == [False] * 4
    assert [step.retained for step in record.steps] == [0] * 4
    assert record.reasons[0] == "ME-PPL is nan: not a finite number"
    assert "weights are not finite" in record.reasons[1]


def test_weights_that_are_not_finite_are_a_collapse_even_where_no_sentence_needs_them() -> None:
    def hidden(model: EditableModel, request: EditRequest) -> WeightUpdate:
        head = torch.zeros_like(model.parameter("model.embed_tokens.weight"))
        head[1] = math.nan  # the end token, which is no input of any sentence
        return WeightUpdate({"model.embed_tokens.weight": DenseDelta(head)})

    record = run(lab_of(Fake(hidden), "llama"))
    assert math.isfinite(record.steps[0].perplexity.me_ppl)
    assert record.verdict is Verdict.COLLAPSED
    assert record.reasons == ("weights are not finite in model.embed_tokens.weight",)


# What goes wrong ----------------------------------------------------------------------------------------------


def test_an_editor_that_raises_is_an_error_that_keeps_the_steps_before() -> None:
    editor = Fake(raising("Paris"))
    record = run(lab_of(editor))
    assert record.verdict is Verdict.ERROR
    assert record.error == "edit 3 (facts:0002): fake raised ValueError: no Paris today"
    assert record.error_kind is ErrorKind.EDITOR
    assert record.reasons == (record.error,)
    assert [step.edit_id for step in record.steps] == ["facts:0000", "facts:0001"]
    assert len(record.requests) == 3
    assert len(editor.asked) == 3


def test_an_editor_that_raises_on_a_collapsed_model_ends_the_curve() -> None:
    record = run(lab_of(Fake(raising("Paris", to_nan))), FULL)
    assert record.verdict is Verdict.COLLAPSED
    assert record.collapsed_after == 1
    assert len(record.steps) == 2
    assert record.error is None
    (note,) = record.notes
    assert note == "the curve ends after 2 edits: edit 3 (facts:0002): fake raised ValueError: no Paris today"


@pytest.mark.parametrize("rule", [harmless, ruin])
def test_an_editor_that_leaves_the_model_changed_is_an_error_whatever_came_before(rule: Rule) -> None:
    def careless(model: EditableModel, request: EditRequest) -> WeightUpdate:
        update = rule(model, request)
        if request.subject == "Rome":
            with torch.no_grad():
                next(model.parameter(name) for name in update.deltas)[0] += 1
        return update

    record = run(lab_of(Fake(careless)), FULL)
    assert record.verdict is Verdict.ERROR
    assert "edit 2 (facts:0001): editor 'fake' left the model changed" in (record.error or "")
    assert [step.edit_id for step in record.steps] == ["facts:0000"]


def test_a_copy_that_cannot_be_restored_is_an_error_and_is_given_up() -> None:
    def careless(model: EditableModel, request: EditRequest) -> WeightUpdate:
        with torch.no_grad():
            model.parameter(weight_of(model, 3))[0, 0] += 1
        return harmless(model, request)

    lab = lab_of(Fake(careless), model=make_model("gpt2"))
    record = run(lab)
    assert record.verdict is Verdict.ERROR
    assert record.error_kind is ErrorKind.RESTORATION
    assert lab.spoiled is not None
    assert record.steps == ()


# Tasks --------------------------------------------------------------------------------------------------------


class Measuring:
    """Measures a task with a given verdict, and keeps the calls."""

    def __init__(self, result: TaskResult, verdict: TaskVerdict) -> None:
        self.result = replace(result, verdict=verdict, edited=0.5, p_value=0.5)
        self.calls: list[int] = []

    def __call__(self, block: int) -> tuple[TaskResult, ...]:
        self.calls.append(block)
        return (self.result,)


@pytest.mark.parametrize("mode", [Downstream.AUTO, Downstream.EACH, Downstream.FINAL])
def test_tasks_are_measured_once_at_the_end(mode: Downstream, result: TaskResult) -> None:
    measure = Measuring(result, TaskVerdict.ABOVE)
    settings = replace(SETTINGS, downstream=mode, suspect_growth=1e6)
    record = run(lab_of(Fake(harmless), measure_tasks=measure), settings)
    assert measure.calls == [1]  # the block that the edits touch
    assert [task.task for task in record.tasks] == ["words"]
    assert record.verdict is not Verdict.COLLAPSED


@pytest.mark.parametrize(
    "settings", [{"downstream": Downstream.SUSPECT}, {"tasks": ("piqa",)}], ids=["suspect", "auto"]
)
@pytest.mark.parametrize(("growth", "measured"), [(1e6, 0), (1e-6, 1)])
def test_only_a_suspect_end_is_measured(
    settings: dict[str, object], growth: float, measured: int, result: TaskResult
) -> None:
    measure = Measuring(result, TaskVerdict.ABOVE)
    chosen = replace(SETTINGS, suspect_growth=growth, **settings)  # type: ignore[arg-type]
    record = run(lab_of(Fake(harmless), measure_tasks=measure), chosen)
    assert len(measure.calls) == len(record.tasks) == measured


def test_tasks_are_not_measured_if_not_asked_for(result: TaskResult) -> None:
    measure = Measuring(result, TaskVerdict.RANDOM)
    record = run(lab_of(Fake(harmless), measure_tasks=measure), replace(SETTINGS, downstream=Downstream.NEVER))
    assert measure.calls == []
    assert record.tasks == ()
    assert record.verdict is not Verdict.COLLAPSED


def test_tasks_at_random_are_a_collapse(result: TaskResult) -> None:
    measure = Measuring(result, TaskVerdict.RANDOM)
    record = run(lab_of(Fake(harmless), measure_tasks=measure))
    assert record.verdict is Verdict.COLLAPSED
    assert record.collapsed_after == 4
    assert record.reasons == ("words acc 0.5 of 100 items is not above chance 0.5 (p = 0.5)",)

    record = run(lab_of(Fake(ruin), measure_tasks=measure), FULL)
    assert record.collapsed_after == 1
    assert record.reasons[1].startswith("after 4 edits, words acc 0.5")


def test_tasks_that_cannot_be_measured_are_an_error_unless_the_model_had_collapsed() -> None:
    def fail(block: int) -> tuple[TaskResult, ...]:
        raise RuntimeError("no data")

    record = run(lab_of(Fake(harmless), measure_tasks=fail))
    assert record.verdict is Verdict.ERROR
    assert record.error_kind is ErrorKind.INFRASTRUCTURE
    assert len(record.steps) == 4
    record = run(lab_of(Fake(ruin), measure_tasks=fail))
    assert record.verdict is Verdict.COLLAPSED
    assert "no data" in record.notes[0]


def test_scenarios_with_a_common_start_share_its_edits() -> None:
    editor = Fake(harmless)
    lab = lab_of(editor)
    first = run(lab, SETTINGS, NORWAY, ROME, PARIS)
    second = run(lab, SETTINGS, NORWAY, ROME, LIMA)
    assert [request.subject for request in editor.asked] == ["Norway", "Rome", "Paris", "Lima"]
    assert second.steps[:2] == first.steps[:2]


# Memory -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [harmless, dense])
def test_a_scenario_holds_no_update_once_it_is_in_the_weights(rule: Rule, result: TaskResult) -> None:
    made: list[weakref.ref[torch.Tensor]] = []
    held: list[int] = []

    def watched(model: EditableModel, request: EditRequest) -> WeightUpdate:
        gc.collect()
        held.append(sum(tensor() is not None for tensor in made))
        update = rule(model, request)
        made.extend(
            weakref.ref(delta.delta if isinstance(delta, DenseDelta) else delta.left)
            for delta in update.deltas.values()
        )
        return update

    measure = Measuring(result, TaskVerdict.ABOVE)
    frugal = lab_of(Fake(watched), measure_tasks=measure, keeps_updates=False)
    record = run(frugal, FULL)
    assert held == [0, 0, 0, 0]
    assert frugal.held_bytes == 0
    assert len(record.tasks) == len(measure.calls) == 1

    held.clear()
    generous = lab_of(Fake(watched), measure_tasks=measure)
    kept = run(generous, FULL)
    assert 0 == held[-4] < held[-3] < held[-2] < held[-1]
    assert [(step.perplexity, step.drift, step.retained) for step in record.steps] == [
        (step.perplexity, step.drift, step.retained) for step in kept.steps
    ]


def test_a_state_that_is_gone_is_said_to_be_gone() -> None:
    lab = lab_of(Fake(harmless), measure_tasks=lambda block: (), keeps_updates=False)
    first = lab.extend(lab.root, NORWAY)
    lab.extend(first, ROME)
    with pytest.raises(InfrastructureError, match="after facts:0000 is gone"):
        lab.extend(first, PARIS)
    lab.leave()
    with pytest.raises(InfrastructureError, match="after facts:0000 is gone"):
        lab.tasks(first)
    assert lab.extend(lab.root, LIMA).step().edit_id == "facts:0003"
    lab.leave()
