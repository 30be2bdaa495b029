"""The tree of states: every edit computed once, every state measured once, and the model left as found."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from collapse_tests.datasets.requests import NamedRequest
from collapse_tests.edit_request import EditRequest
from collapse_tests.engine.scoring import Scorer
from collapse_tests.errors import EditorError, InfrastructureError, RestorationError
from collapse_tests.metrics.perplexity import perplexity, perplexity_rows
from collapse_tests.models.editable import EditableModel
from collapse_tests.records import TaskResult
from collapse_tests.sequence.lab import SequenceLab
from collapse_tests.sequence.node import Node
from collapse_tests.sequence.readings import Readings
from collapse_tests.weight_update import WeightUpdate
from fixtures.tiny_models import make_model
from tests.unit.sequence.fakes import (
    LIMA,
    LIMIT,
    NORWAY,
    PARIS,
    ROME,
    TEXTS,
    Fake,
    Rule,
    dense,
    harmless,
    lab_of,
    nothing,
    ruin,
    to_nan,
    weight_of,
)
from tests.unit.tiny import bits, low_rank, shared_model


def walk(lab: SequenceLab, *names: object) -> Node:
    node = lab.root
    for named in names:
        node = lab.extend(node, named)  # type: ignore[arg-type]
    return node


@pytest.fixture(params=[harmless, dense], ids=["low rank", "dense"])
def lab(request: pytest.FixtureRequest) -> SequenceLab:
    return lab_of(Fake(request.param))


def test_each_update_is_computed_on_the_model_as_the_edits_before_have_left_it() -> None:
    seen = []

    def look(model: EditableModel, request: EditRequest) -> WeightUpdate:
        seen.append((request.subject, model.parameter(weight_of(model)).clone()))
        return harmless(model, request)

    lab = lab_of(Fake(look))
    unedited = lab.model.parameter(weight_of(lab.model)).clone()
    node = walk(lab, NORWAY, ROME)
    lab.leave()

    assert [subject for subject, _ in seen] == ["Norway", "Rome"]
    assert torch.equal(seen[0][1], unedited)
    first = node.edits[0].update
    with lab.model.applied(first):
        assert torch.equal(seen[1][1], lab.model.parameter(weight_of(lab.model)))
    assert not torch.equal(seen[1][1], unedited)


def test_a_known_sequence_costs_nothing(lab: SequenceLab, monkeypatch: pytest.MonkeyPatch) -> None:
    node = walk(lab, NORWAY, ROME, PARIS)
    lab.leave()
    assert (lab.computed, lab.remembered) == (3, 0)
    assert lab.knows(walk(lab, NORWAY), ROME.request)
    assert not lab.knows(lab.root, ROME.request)

    def refuse(*arguments: object) -> None:
        raise AssertionError("known already")

    for name in ("add", "restore"):
        monkeypatch.setattr(lab.model, name, refuse)
    for name in ("perplexity", "qualities"):
        monkeypatch.setattr(Readings, name, refuse)
    assert walk(lab, NORWAY, ROME, PARIS) is node
    assert lab.computed == 3
    assert lab.editor.asked == [named.request for named in (NORWAY, ROME, PARIS)]  # type: ignore[attr-defined]


def test_states_do_not_depend_on_the_way_there(lab: SequenceLab) -> None:
    prints = {}
    for names in [(NORWAY,), (NORWAY, ROME), (ROME, NORWAY), (NORWAY, ROME, LIMA), (PARIS,), (NORWAY, PARIS)]:
        prints[names] = walk(lab, *names).prints
    lab.leave()
    for names, expected in prints.items():
        again = walk(lab_of(lab.editor), *names)  # type: ignore[arg-type]
        assert again.prints == expected
        lab.leave()


def test_states_of_the_same_bits_share_their_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []
    measure = Readings.perplexity

    def counted(readings: Readings, block: int) -> object:
        measured.append(block)
        return measure(readings, block)

    monkeypatch.setattr(Readings, "perplexity", counted)
    lab = lab_of(Fake(nothing))
    node = walk(lab, NORWAY, ROME, PARIS)
    lab.leave()
    assert measured == [lab.model.n_blocks]  # the unedited model
    assert node.digest == lab.root.digest
    assert node.perplexity == lab.root.perplexity
    assert node.drift == 0


@pytest.mark.parametrize("rule", [harmless, dense, ruin])
def test_perplexity_is_that_of_the_weights_as_they_are(model: EditableModel, rule: Rule) -> None:
    lab = lab_of(Fake(rule), model=model)
    node = walk(lab, ROME, NORWAY)
    (scores,) = Scorer(model).each([perplexity_rows(model, TEXTS)], [None])
    lab.leave()
    assert node.perplexity.me_ppl == pytest.approx(perplexity(scores).me_ppl, rel=1e-5)
    assert node.perplexity.me_ppl != lab.root.perplexity.me_ppl


@torch.no_grad()
def prefers_target(model: EditableModel, request: EditRequest) -> bool:
    """Whether the new answer is more likely than the old one, or greedy where there is none, by the model itself."""

    def nll(answer: str) -> tuple[float, bool]:
        ids, labels = model.encode(request.prompt), model.answer_ids(request.prompt, answer)
        logits = model.model(torch.tensor([[*ids, *labels]])).logits[0, len(ids) - 1 : -1].double()
        scores = logits.log_softmax(-1)[range(len(labels)), labels]
        return -float(scores.sum()), logits.argmax(-1).tolist() == labels

    if request.ground_truth is None:
        return nll(request.target_new)[1]
    return nll(request.target_new)[0] < nll(request.ground_truth)[0]


def test_success_and_retention(model: EditableModel) -> None:
    def strong(model: EditableModel, request: EditRequest) -> WeightUpdate:
        return low_rank(model, weight_of(model), seed=len(request.target_new), rank=3, scale=0.8)

    lab = lab_of(Fake(strong), model=model)
    back = NamedRequest("facts:0000~Oslo", replace(NORWAY.request, target_new="Oslo", ground_truth="Lima"))
    names = [NORWAY, ROME, PARIS, back, LIMA, NORWAY]
    outcomes = set()
    for count in range(1, len(names) + 1):
        node = walk(lab, *names[:count])
        current = list({named.request.prompt: named for named in names[:count]}.values())
        earlier = [named for named in current if named.request.prompt != node.last.request.prompt]
        step = node.step()
        assert step.edit_id == names[count - 1].edit_id
        assert step.success == prefers_target(model, names[count - 1].request)
        assert step.earlier == len(earlier)
        assert step.retained == sum(prefers_target(model, named.request) for named in earlier)
        outcomes |= {step.success, step.retained == step.earlier}
    lab.leave()
    assert outcomes == {True, False}


def test_nan_is_measured_and_left_behind() -> None:
    lab = lab_of(Fake(to_nan))
    node = walk(lab, NORWAY, ROME)
    assert math.isnan(node.perplexity.me_ppl)
    assert math.isnan(node.drift)
    assert not node.quality.success
    assert node.not_finite == (weight_of(lab.model),)
    assert lab.revert(node).edits[-1].named is NORWAY
    lab.leave()


# Reverting ----------------------------------------------------------------------------------------------------


def test_reverting_restores_and_replays(lab: SequenceLab) -> None:
    first = walk(lab, NORWAY)
    there = bits(lab.model)
    node = walk(lab, NORWAY, ROME)
    assert lab.revert(node) is first
    assert bits(lab.model) == there
    assert lab.revert(first) is lab.root
    assert lab.model.changed_tensors() == []


def test_a_replay_that_gives_other_bits_is_no_revert(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = lab_of(Fake(harmless))
    node = walk(lab, NORWAY, ROME)
    original = lab.model.add

    def inexact(update: WeightUpdate) -> None:
        original(update)
        with torch.no_grad():
            lab.model.parameter(weight_of(lab.model))[0, 0] += 1e-3

    monkeypatch.setattr(lab.model, "add", inexact)
    for _ in range(2):
        with pytest.raises(RestorationError, match="replayed"):
            lab.revert(node)
    lab.leave()


# Editors that do not behave -----------------------------------------------------------------------------------


def test_an_editor_that_raises_raises_the_same_again_without_being_asked() -> None:
    def fail(model: EditableModel, request: EditRequest) -> WeightUpdate:
        if request.subject == "Rome":
            raise ValueError("no Rome today")
        return harmless(model, request)

    editor = Fake(fail)
    lab = lab_of(editor)
    node = walk(lab, NORWAY)
    for _ in range(3):
        with pytest.raises(EditorError, match="fake raised ValueError: no Rome today"):
            lab.extend(node, ROME)
    assert [request.subject for request in editor.asked] == ["Norway", "Rome"]
    assert walk(lab, NORWAY, PARIS).step().edit_id == "facts:0002"
    lab.leave()


@pytest.mark.parametrize("returned", [[], ["no update"], [WeightUpdate({}), WeightUpdate({})]])
def test_an_editor_that_returns_something_else(returned: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    editor = Fake(harmless)
    monkeypatch.setattr(editor, "compute_updates", lambda model, requests: returned)
    with pytest.raises(EditorError, match="one WeightUpdate for each"):
        walk(lab_of(editor), NORWAY)


def test_an_update_that_does_not_fit() -> None:
    def misfit(model: EditableModel, request: EditRequest) -> WeightUpdate:
        return WeightUpdate({"no.such.weight": next(iter(harmless(model, request).deltas.values()))})

    with pytest.raises(EditorError, match=r"no\.such\.weight"):
        walk(lab_of(Fake(misfit)), NORWAY)


@pytest.mark.parametrize("raises", [False, True])
def test_an_editor_that_changes_what_has_been_edited_is_an_error_and_undone(raises: bool) -> None:
    def careless(model: EditableModel, request: EditRequest) -> WeightUpdate:
        update = harmless(model, request)
        if request.subject == "Rome":
            with torch.no_grad():
                model.parameter(weight_of(model))[0, 0] += 1
            if raises:
                raise ValueError("and it raises, too")
        return update

    lab = lab_of(Fake(careless))
    node = walk(lab, NORWAY)
    with pytest.raises(RestorationError, match="left the model changed"):
        lab.extend(node, ROME)
    assert lab.spoiled is None
    assert walk(lab, NORWAY, PARIS).edits[0] is node.edits[0]
    lab.leave()


def test_a_copy_that_cannot_be_restored_is_not_used_any_more() -> None:
    def careless(model: EditableModel, request: EditRequest) -> WeightUpdate:
        if request.subject == "Rome":
            with torch.no_grad():
                model.parameter(weight_of(model, 3))[0, 0] += 1
        return harmless(model, request)

    lab = lab_of(Fake(careless), model=make_model("gpt2"))
    node = walk(lab, NORWAY)
    with pytest.raises(RestorationError) as caught:
        lab.extend(node, ROME)
    assert lab.spoiled is caught.value
    assert lab.extend(lab.root, NORWAY) is node
    with pytest.raises(RestorationError):
        lab.extend(node, PARIS)
    with pytest.raises(RestorationError):
        lab.leave()


# Tasks --------------------------------------------------------------------------------------------------------


def test_tasks_are_measured_once_on_the_weights_of_the_state(result: TaskResult) -> None:
    calls = []

    def measure(block: int) -> tuple[TaskResult, ...]:
        calls.append((block, bits(shared_model("gpt2"))))
        return (result,)

    lab = lab_of(Fake(harmless), measure_tasks=measure)
    first, other = walk(lab, NORWAY), walk(lab, ROME)
    here = bits(lab.model)
    assert not lab.knows_tasks(other)
    walk(lab, NORWAY, PARIS)
    for _ in range(2):
        assert lab.tasks(other) == (result,)
    assert lab.knows_tasks(other)
    assert not lab.knows_tasks(first)
    assert calls == [(1, here)]
    lab.leave()


def test_tasks_that_cannot_be_measured() -> None:
    calls = []

    def measure(block: int) -> tuple[TaskResult, ...]:
        calls.append(block)
        raise RuntimeError("no data")

    lab = lab_of(Fake(harmless), measure_tasks=measure)
    node = walk(lab, NORWAY)
    for _ in range(2):
        with pytest.raises(InfrastructureError, match="measuring tasks raised RuntimeError: no data"):
            lab.tasks(node)
    assert len(calls) == 1
    lab.leave()


def test_without_tasks(lab: SequenceLab) -> None:
    assert lab.knows_tasks(lab.root)
    assert lab.tasks(lab.root) == ()


def test_an_unedited_model_that_does_not_pass_judges_nothing() -> None:
    with pytest.raises(InfrastructureError, match="not below --ppl-limit 1"):
        Readings(shared_model("gpt2"), TEXTS, 1.0)
    assert Readings(shared_model("gpt2"), TEXTS, LIMIT).unedited.me_ppl < LIMIT
