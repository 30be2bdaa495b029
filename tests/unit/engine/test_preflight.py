"""Risks of requests as the engine collects them: whose fault costs what, and in which order they come out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from collapse_tests.cases import Case
from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.protocol import RISK, no_progress
from collapse_tests.editors.registry import create_editor
from collapse_tests.editors.rome import Rome
from collapse_tests.engine.gate import Gate
from collapse_tests.engine.preflight import Foresight, by_risk, foresee
from collapse_tests.engine.setting_up import prepare_for
from collapse_tests.errors import InfrastructureError, RestorationError, UsageError
from collapse_tests.models.editable import EditableModel
from collapse_tests.records import Verdict
from collapse_tests.settings import Downstream, Override, Settings
from collapse_tests.weight_update import WeightUpdate
from tests.unit.tiny import low_rank, shared_model

Save = Callable[[str], Path]
SUBJECTS = ("Norway", "Rome", "Paris", "Vienna", "Lima")
VICTIM = "Paris"


def request(subject: str) -> EditRequest:
    return EditRequest(f"{subject} is in", subject, "the rain", "Oslo")


class Plain:
    """An editor that tells nothing beforehand."""

    name = "plain"

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        return [low_rank(model, model.mlp_output_weight(1), seed=len(r.prompt), scale=0.1) for r in requests]


class Telling(Plain):
    """Tells the length of the subject as the risk, and counts what it was asked."""

    name = "telling"

    def __init__(self) -> None:
        self.asked: list[int] = []

    def preflight(self, model: EditableModel, requests: Sequence[EditRequest]) -> Sequence[Mapping[str, float]]:
        self.asked.append(len(requests))
        return [{RISK: float(len(r.subject)), "letters": len(r.subject)} for r in requests]


class Untidy(Telling):
    """Changes the weights while it looks at them."""

    name = "untidy"

    def preflight(self, model: EditableModel, requests: Sequence[EditRequest]) -> Sequence[Mapping[str, float]]:
        with torch.no_grad():
            model.parameter(model.mlp_output_weight(1)).add_(1)
        return super().preflight(model, requests)


class UntidyAndRaising(Untidy):
    """Changes the weights and then raises."""

    def preflight(self, model: EditableModel, requests: Sequence[EditRequest]) -> Sequence[Mapping[str, float]]:
        super().preflight(model, requests)
        raise ZeroDivisionError("on purpose")


class Answering(Telling):
    """Gives whatever answers a test wants."""

    def __init__(self, answers: Callable[[Sequence[EditRequest]], Any]) -> None:
        super().__init__()
        self._answers = answers

    def preflight(self, model: EditableModel, requests: Sequence[EditRequest]) -> Sequence[Mapping[str, float]]:
        super().preflight(model, requests)
        found: Sequence[Mapping[str, float]] = self._answers(requests)
        return found


def seen_by(editor: Telling, subjects: Sequence[str] = SUBJECTS) -> list[Foresight]:
    return foresee(shared_model("gpt2"), editor, [request(subject) for subject in subjects], no_progress)


def answers_unless(error: Exception) -> Callable[[Sequence[EditRequest]], Any]:
    def answers(requests: Sequence[EditRequest]) -> list[dict[str, float]]:
        if any(one.subject == VICTIM for one in requests):
            raise error
        return [{RISK: float(len(one.subject))} for one in requests]

    return answers


# What one request costs ---------------------------------------------------------------------------------------


def test_risks_and_numbers_come_in_the_order_of_the_requests() -> None:
    assert seen_by(Telling()) == [
        Foresight(float(len(subject)), {"letters": float(len(subject))}) for subject in SUBJECTS
    ]


def test_a_request_that_raises_costs_its_own_risk_alone() -> None:
    seen = seen_by(Answering(answers_unless(KeyError("nothing"))))
    assert [one.risk for one in seen] == [6, 4, -math.inf, 6, 4]
    assert [one.error for one in seen] == [None, None, "telling raised KeyError: 'nothing'", None, None]


def test_an_error_of_the_package_keeps_its_words() -> None:
    seen = seen_by(Answering(answers_unless(InfrastructureError("the disk is full; free some space"))))
    assert seen[2].error == "the disk is full; free some space"


def test_memory_that_one_request_alone_exceeds_is_told() -> None:
    seen = seen_by(Answering(answers_unless(torch.OutOfMemoryError("CUDA out of memory"))))
    assert "telling ran out of memory with a single edit" in str(seen[2].error)
    assert [one.risk for one in seen] == [6, 4, -math.inf, 6, 4]


def test_memory_that_a_batch_exceeds_costs_nothing() -> None:
    def answers(requests: Sequence[EditRequest]) -> list[dict[str, float]]:
        if len(requests) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [{RISK: float(len(one.subject))} for one in requests]

    editor = Answering(answers)
    assert [one.risk for one in seen_by(editor)] == [6, 4, 5, 6, 4]
    assert max(editor.asked[1:]) <= 3


@pytest.mark.parametrize(
    "answers",
    [
        lambda requests: [],
        lambda requests: [{RISK: 1.0}] * (len(requests) + 1),
        lambda requests: [{"danger": 1.0}] * len(requests),
    ],
    ids=["too few", "too many", "no risk"],
)
def test_answers_that_do_not_fit_are_told(answers: Callable[[Sequence[EditRequest]], Any]) -> None:
    seen = seen_by(Answering(answers))
    assert all("for 1 requests; it has to return a mapping with 'risk' for each" in str(one.error) for one in seen)
    assert all(one.risk == -math.inf for one in seen)


@pytest.mark.parametrize(
    "answers",
    [lambda requests: None, lambda requests: [1.0 for _ in requests], lambda requests: [{RISK: "high"}] * 5],
    ids=["none", "numbers", "text"],
)
def test_answers_of_another_kind_are_errors_and_not_crashes(
    answers: Callable[[Sequence[EditRequest]], Any],
) -> None:
    assert all(one.error is not None and one.risk == -math.inf for one in seen_by(Answering(answers)))


def test_numbers_of_any_kind_become_plain_ones() -> None:
    seen = seen_by(Answering(lambda requests: [{RISK: torch.tensor(2.5), "block": 3} for _ in requests]))
    assert seen == [Foresight(2.5, {"block": 3.0})] * len(SUBJECTS)


def test_many_requests_go_in_parts_and_progress_is_told() -> None:
    editor, told = Telling(), list[tuple[str, int, int]]()
    requests = [request(SUBJECTS[index % 5]) for index in range(150)]
    seen = foresee(shared_model("gpt2"), editor, requests, lambda *given: told.append(given))
    assert [one.risk for one in seen] == [float(len(one.subject)) for one in requests]
    assert sum(editor.asked) == 150
    assert max(editor.asked) < 150
    assert len(told) == len(editor.asked)
    assert {total for _, _, total in told} == {150}


def test_no_requests_ask_nothing() -> None:
    editor = Telling()
    assert seen_by(editor, ()) == []
    assert editor.asked == []


# The order ----------------------------------------------------------------------------------------------------


def test_what_nothing_bounds_comes_first_and_what_told_nothing_last() -> None:
    risks = [1.0, -math.inf, 3.0, math.inf, math.nan, 1.0, 0.0, math.inf, math.nan, -2.0, -math.inf]
    order = by_risk([Foresight(risk) for risk in risks])
    assert order == [4, 8, 3, 7, 2, 0, 5, 6, 9, 1, 10]


def test_errors_come_last() -> None:
    seen = seen_by(Answering(answers_unless(ValueError("no"))))
    assert [SUBJECTS[index] for index in by_risk(seen)] == ["Norway", "Vienna", "Rome", "Lima", VICTIM]


# At the gate --------------------------------------------------------------------------------------------------


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
        downstream=Downstream.NEVER,
    )


def own(cls: type) -> str:
    return f"{__name__}:{cls.__name__}"


def gate_and_lines(settings: Settings) -> tuple[Gate, list[str]]:
    said: list[str] = []
    return Gate(settings, (), say=said.append), said


def loads(said: Sequence[str]) -> int:
    return sum(line.startswith("loading") for line in said)


REQUESTS = [request(subject) for subject in SUBJECTS]


def test_an_editor_that_can_tell_is_asked_itself(settings: Settings) -> None:
    gate, _ = gate_and_lines(settings)
    seen = gate.preflight(settings.models[0], own(Telling), REQUESTS)
    assert [dict(one.numbers) for one in seen] == [{"letters": len(subject)} for subject in SUBJECTS]


@pytest.mark.parametrize("editor", ["plain", "ft"])
def test_an_editor_that_cannot_tell_gets_what_rome_says(settings: Settings, editor: str) -> None:
    name = own(Plain) if editor == "plain" else editor
    model = settings.models[0]
    gate, said = gate_and_lines(settings)
    stand_in, rome = gate.preflight(model, name, REQUESTS), gate.preflight(model, "rome", REQUESTS)
    assert stand_in == rome
    assert all(one.error is None and "denominator" in one.numbers for one in rome)
    assert loads(said) == 1
    outcome = gate.outcome(Case(model, name, "facts:0", REQUESTS[0]))
    assert "denominator" not in outcome.record.diagnostics  # the edit is the editor's own


def test_rome_is_asked_with_the_hyperparameters_of_the_run(settings: Settings) -> None:
    settings = replace(settings, overrides=(Override("rome", "block", 2), Override("rome", "clamp_norm_factor", 1.5)))
    gate, _ = gate_and_lines(settings)
    seen = gate.preflight(settings.models[0], "rome", REQUESTS)
    editor = create_editor("rome", settings.models[0], settings)
    assert isinstance(editor, Rome)
    model = shared_model("llama")
    prepare_for(model, editor, "rome", settings, no_progress)
    expected = editor.preflight(model, REQUESTS)
    assert {one.numbers["block"] for one in seen} == {2}
    assert [one.risk for one in seen] == pytest.approx([numbers[RISK] for numbers in expected], 1e-5)


@pytest.mark.parametrize("cls", [Untidy, UntidyAndRaising])
def test_an_editor_that_changes_the_weights_is_blamed_and_the_copy_dropped(settings: Settings, cls: type) -> None:
    model = settings.models[0]
    gate, said = gate_and_lines(settings)
    with pytest.raises(RestorationError, match=r"left the model changed: model\.layers\.1\.mlp\.down_proj\.weight"):
        gate.preflight(model, own(cls), REQUESTS)
    assert gate.device_facts("main") is None
    after = gate.preflight(model, "rome", REQUESTS)
    assert loads(said) == 2
    undisturbed, _ = gate_and_lines(settings)
    assert after == undisturbed.preflight(model, "rome", REQUESTS)


def test_looking_at_requests_changes_no_outcome(settings: Settings) -> None:
    cases = [Case(settings.models[0], "rome", f"facts:{index}", one) for index, one in enumerate(REQUESTS[:2])]
    settings = replace(settings, overrides=(Override("rome", "steps", 3),))
    looked, _ = gate_and_lines(settings)
    looked.preflight(settings.models[0], "rome", REQUESTS)
    looked.expect(cases)
    fresh = Gate(settings, cases)
    for case in cases:
        first, second = looked.outcome(case).record, fresh.outcome(case).record
        assert first.edited == second.edited
        assert first.diagnostics == second.diagnostics
        assert first.verdict is not Verdict.ERROR


def test_a_model_that_does_not_load_raises(settings: Settings, tmp_path: Path) -> None:
    gate, _ = gate_and_lines(settings)
    with pytest.raises(UsageError, match=r"no config\.json"):
        gate.preflight(str(tmp_path), "rome", REQUESTS)


def test_a_stand_in_that_cannot_be_made_for_the_model_raises(settings: Settings) -> None:
    gate, _ = gate_and_lines(replace(settings, overrides=(Override("rome", "block", 4),)))
    with pytest.raises(UsageError, match=r"rome\.block=4"):
        gate.preflight(settings.models[0], own(Plain), REQUESTS)


def test_a_digest_is_the_models_own_and_loads_it_once(settings: Settings) -> None:
    gate, said = gate_and_lines(settings)
    digest = gate.digest(settings.models[0])
    assert digest == shared_model("llama").digest != shared_model("gpt2").digest
    gate.preflight(settings.models[0], own(Telling), REQUESTS)
    assert loads(said) == 1
    assert gate.outcome(Case(settings.models[0], own(Plain), "f:0", REQUESTS[0])).record.model_digest == digest


def test_batches_are_cut_from_the_cases_told_last(settings: Settings) -> None:
    cases = [Case(settings.models[0], own(Sizes), f"facts:{index}", one) for index, one in enumerate(REQUESTS)]
    gate = Gate(settings, cases)
    gate.expect(cases[3:] + cases[:1])
    Sizes.sizes = []
    assert gate.outcome(cases[3]).record.edit_id == "facts:3"
    assert gate.outcome(cases[0]).record.edit_id == "facts:0"
    assert Sizes.sizes == [3]
    gate.expect(cases, workers=3)
    gate.outcome(cases[1])
    gate.outcome(cases[2])
    assert Sizes.sizes == [3, 1, 2]


class Sizes(Plain):
    """Remembers the sizes of its batches."""

    sizes: list[int]

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        self.sizes.append(len(requests))
        return super().compute_updates(model, requests)
