from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from collapse_tests.cases import Case
from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.protocol import EditorContext
from collapse_tests.engine.gate import Gate
from collapse_tests.models.editable import EditableModel
from collapse_tests.records import Record, TaskVerdict, Verdict
from collapse_tests.settings import Downstream, Override, Settings
from collapse_tests.weight_update import WeightUpdate
from tests.unit.tiny import low_rank

Save = Callable[[str], Path]
SUBJECTS = ("Norway", "Rome", "Paris", "Vienna", "Lima")


class Tidy:
    """Edits block 1 at random."""

    name = "tidy"

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        return [low_rank(model, model.mlp_output_weight(1), seed=len(r.prompt), scale=0.1) for r in requests]


class Untidy(Tidy):
    """Leaves the model changed after a request about Rome."""

    name = "untidy"

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        updates = super().compute_updates(model, requests)
        if any(request.subject == "Rome" for request in requests):
            with torch.no_grad():
                model.parameter(model.mlp_output_weight(1)).add_(1)
        return updates


class UntidyPreparation(Tidy):
    """Leaves the model changed by its one-off work."""

    def prepare(self, model: EditableModel, context: EditorContext) -> None:
        with torch.no_grad():
            model.parameter(model.mlp_output_weight(1)).add_(1)


class FailingPreparation(Tidy):
    """Fails in its one-off work."""

    def prepare(self, model: EditableModel, context: EditorContext) -> None:
        raise ZeroDivisionError("on purpose")


class Batches(Tidy):
    """Remembers the sizes of its batches."""

    sizes: list[int]

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        self.sizes.append(len(requests))
        return super().compute_updates(model, requests)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_COLLAPSE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def settings(saved_tiny_model: Save, tmp_path: Path) -> Settings:
    texts = tmp_path / "texts.txt"
    texts.write_text("The capital of Norway is Oslo\nYou play the violin in Paris\n", encoding="utf-8")
    return Settings(
        ("rome",),
        (str(saved_tiny_model("llama")),),
        ppl_limit=1e9,
        ppl_texts=str(texts),
        device="cpu",
        matmul_precision="float32",
        batch_size=1,
        downstream=Downstream.NEVER,
    )


def cases(settings: Settings, *editors: str) -> list[Case]:
    return [
        Case(settings.models[0], editor, f"facts:{index}", EditRequest(f"{subject} is in", subject, "the rain", "Oslo"))
        for editor in editors
        for index, subject in enumerate(SUBJECTS)
    ]


def comparable(record: Record) -> Record:
    return replace(record, seconds={})


def editor(cls: type) -> str:
    return f"{__name__}:{cls.__name__}"


def test_after_a_model_left_changed_a_fresh_one_is_loaded(settings: Settings) -> None:
    said: list[str] = []
    wanted = cases(settings, editor(Untidy))
    gate = Gate(settings, wanted, say=said.append)
    records = [gate.outcome(case).record for case in wanted]
    assert [record.verdict is Verdict.ERROR for record in records] == [False, True, False, False, False]
    assert "model.layers.1.mlp.down_proj.weight" in str(records[1].error)
    assert sum(line.startswith("loading") for line in said) == 2
    undisturbed = Gate(settings, cases(settings, editor(Tidy)))
    for record, case in zip(records, cases(settings, editor(Tidy)), strict=True):
        if record.verdict is not Verdict.ERROR:
            expected = undisturbed.outcome(case).record
            assert (record.edited, record.quality) == (expected.edited, expected.quality)


def test_an_unedited_model_over_the_limit_fails_every_case_and_is_shown_once(settings: Settings) -> None:
    settings, said = replace(settings, ppl_limit=2.0, batch_size=None), list[str]()
    wanted = cases(settings, editor(Tidy), "rome")
    gate = Gate(settings, wanted, say=said.append)
    outcomes = [gate.outcome(case) for case in wanted]
    assert all(outcome.record.verdict is Verdict.ERROR for outcome in outcomes)
    assert all("--ppl-limit 2" in str(outcome.record.error) for outcome in outcomes)
    assert [outcome.repeated for outcome in outcomes] == [False] + [True] * 9


def test_a_model_that_fails_is_not_loaded_twice_for_one_editor(settings: Settings) -> None:
    settings, said = replace(settings, ppl_limit=2.0, batch_size=None), list[str]()
    wanted = cases(settings, editor(Tidy))
    gate = Gate(settings, wanted, say=said.append)
    for case in wanted:
        gate.outcome(case)
    assert sum(line.startswith("loading") for line in said) == 1


def test_one_model_serves_all_editors(settings: Settings) -> None:
    said: list[str] = []
    wanted = cases(settings, editor(Tidy), "rome")
    gate = Gate(settings, wanted, say=said.append)
    assert gate.device_facts("main") is None
    records = [gate.outcome(case).record for case in wanted]
    assert all(record.error is None for record in records)
    facts = gate.device_facts("main")
    assert facts is not None
    assert facts["device"] == "cpu"
    assert facts["matmul_precision"] == "float32"
    assert gate.device_facts("another") is None
    assert sum(line.startswith("loading") for line in said) == 1
    assert "denominator" in records[-1].diagnostics


def test_batches_do_not_change_records(settings: Settings) -> None:
    wanted = cases(settings, editor(Tidy))
    one_by_one, at_once = Gate(settings, wanted), Gate(replace(settings, batch_size=5), wanted)
    for case in wanted:
        alone, together = one_by_one.outcome(case).record, at_once.outcome(case).record
        assert alone.edited is not None
        assert together.edited is not None
        assert together.edited.me_ppl == pytest.approx(alone.edited.me_ppl, rel=1e-5)
        assert replace(comparable(together), edited=None, quality=None) == replace(
            comparable(alone), edited=None, quality=None
        )


@pytest.mark.parametrize(
    ("batch_size", "workers", "sizes"), [(None, None, [5]), (2, None, [2, 2, 1]), (4, 2, [3, 2]), (1, None, [1] * 5)]
)
def test_batches_keep_to_their_size_and_chunk(
    settings: Settings, batch_size: int | None, workers: int | None, sizes: list[int]
) -> None:
    Batches.sizes = []
    settings = replace(settings, batch_size=batch_size)
    wanted = cases(settings, editor(Batches))
    gate = Gate(settings, wanted, workers=workers, worker="gw1")
    assert {gate.outcome(case).record.worker for case in wanted} == {"gw1"}
    assert Batches.sizes == sizes


def test_answered_cases_are_in_no_batch_until_they_are_asked_for(settings: Settings) -> None:
    Batches.sizes = []
    settings = replace(settings, batch_size=2)
    wanted = cases(settings, editor(Batches))
    answered = {wanted[1].id, wanted[2].id}
    gate = Gate(settings, wanted, answered=answered)
    for index in (0, 3, 4):
        assert gate.outcome(wanted[index]).record.case_id == wanted[index].id
    assert Batches.sizes == [2, 1]
    answered.remove(wanted[2].id)
    assert gate.outcome(wanted[1]).record.case_id == wanted[1].id
    assert gate.outcome(wanted[2]).record.case_id == wanted[2].id
    assert Batches.sizes == [2, 1, 2]


def test_cases_can_be_asked_for_in_any_order_and_again(settings: Settings) -> None:
    settings = replace(settings, batch_size=2)
    wanted = cases(settings, editor(Tidy))
    gate = Gate(settings, wanted)
    records = {case.id: gate.outcome(case).record for case in reversed(wanted)}
    assert [record.case_id for record in records.values()] == [case.id for case in reversed(wanted)]
    for case in wanted:
        again = gate.outcome(case).record
        assert again.case_id == case.id
        assert again.verdict is records[case.id].verdict


def test_wrong_hyperparameters_fail_one_editor_alone(settings: Settings) -> None:
    settings = replace(settings, overrides=(Override("rome", "block", 4),))
    wanted = cases(settings, "rome", editor(Tidy))
    gate = Gate(settings, wanted)
    outcomes = [gate.outcome(case) for case in wanted]
    assert [outcome.record.verdict is Verdict.ERROR for outcome in outcomes] == [True] * 5 + [False] * 5
    assert "rome.block=4" in str(outcomes[0].record.error)
    assert [outcome.repeated for outcome in outcomes[:5]] == [False, True, True, True, True]


def test_preparation_that_raises_fails_one_editor_alone(settings: Settings) -> None:
    wanted = cases(settings, editor(FailingPreparation), editor(Tidy))
    gate = Gate(settings, wanted)
    records = [gate.outcome(case).record for case in wanted]
    assert [record.verdict is Verdict.ERROR for record in records] == [True] * 5 + [False] * 5
    assert "raised ZeroDivisionError: on purpose" in str(records[0].error)


def test_preparation_that_leaves_the_model_changed_is_blamed_and_nobody_else(settings: Settings) -> None:
    wanted = cases(settings, editor(UntidyPreparation), editor(Tidy))
    gate = Gate(settings, wanted)
    records = [gate.outcome(case).record for case in wanted]
    assert [record.verdict is Verdict.ERROR for record in records] == [True] * 5 + [False] * 5
    assert "UntidyPreparation' left the model changed: model.layers.1" in str(records[0].error)


def test_a_model_that_does_not_load_fails_its_cases_alone(settings: Settings, tmp_path: Path) -> None:
    broken = replace(settings, models=(str(tmp_path),))
    wanted = [*cases(broken, editor(Tidy)), *cases(settings, editor(Tidy))]
    gate = Gate(settings, wanted)
    outcomes = [gate.outcome(case) for case in wanted]
    assert [outcome.record.verdict is Verdict.ERROR for outcome in outcomes] == [True] * 5 + [False] * 5
    assert "no config.json" in str(outcomes[0].record.error)
    assert [outcome.repeated for outcome in outcomes[:5]] == [False, True, True, True, True]


def test_an_editor_that_cannot_be_made_loads_no_model(settings: Settings) -> None:
    said: list[str] = []
    wrong = replace(settings, overrides=(Override("rome", "steps", 0),))
    (case, *_) = cases(wrong, "rome")
    record = Gate(wrong, [case], say=said.append).outcome(case).record
    assert str(record.error).startswith("--set rome.steps=0: ")
    assert said == []


@pytest.mark.parametrize(
    ("mode", "growth", "measured"),
    [
        (Downstream.AUTO, 1.5, True),
        (Downstream.EACH, 1.5, True),
        (Downstream.SUSPECT, 1.0000001, None),
        (Downstream.SUSPECT, 1e6, False),
        (Downstream.FINAL, 1.5, False),
        (Downstream.NEVER, 1.5, False),
    ],
)
def test_tasks_are_measured_when_asked_for(
    settings: Settings, mode: Downstream, growth: float, measured: bool | None
) -> None:
    settings = replace(settings, downstream=mode, suspect_growth=growth, tasks_limit=5, batch_size=None)
    wanted = cases(settings, editor(Tidy))
    gate = Gate(settings, wanted)
    for case in wanted:
        record = gate.outcome(case).record
        assert isinstance(record, Record)
        assert record.edited is not None
        assert record.unedited is not None
        # A suspect edit is one that raised ME-PPL by the factor.
        suspect = record.edited.me_ppl >= growth * record.unedited.me_ppl
        assert bool(record.tasks) is (suspect if measured is None else measured)
        assert ("downstream" in record.seconds) is bool(record.tasks)
        assert all(result.items == 5 for result in record.tasks)
        # A random model answers at random, so its tasks say nothing and fail nothing.
        assert {result.verdict for result in record.tasks} <= {TaskVerdict.UNINFORMATIVE}
        assert record.verdict in (Verdict.STABLE, Verdict.INEFFECTIVE)


def test_a_task_that_does_not_exist_is_an_error_before_the_model_is_loaded(settings: Settings) -> None:
    said: list[str] = []
    settings = replace(settings, downstream=Downstream.EACH, tasks=("mmlu_sub",), tasks_data=Path("nowhere"))
    wanted = cases(settings, editor(Tidy))[:1]
    record = Gate(settings, wanted, say=said.append).outcome(wanted[0]).record
    assert record.verdict is Verdict.ERROR
    assert "--tasks-data 'nowhere' is no directory" in str(record.error)
    assert not any(line.startswith("loading") for line in said)


def test_tasks_that_cannot_be_measured_are_told_once_and_before_anything_is_edited(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr("collapse_tests.engine.task_set.plan_task", fail)
    monkeypatch.setattr(Tidy, "compute_updates", fail)
    settings = replace(settings, downstream=Downstream.SUSPECT, batch_size=None)
    wanted = cases(settings, editor(Tidy))
    gate = Gate(settings, wanted)
    outcomes = [gate.outcome(case) for case in wanted]
    assert all("ZeroDivisionError: on purpose" in str(outcome.record.error) for outcome in outcomes)
    assert all("choose others with --tasks" in str(outcome.record.error) for outcome in outcomes)
    assert [outcome.repeated for outcome in outcomes] == [False, True, True, True, True]
