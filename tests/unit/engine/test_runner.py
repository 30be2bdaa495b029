"""Batches of cases: whatever an editor does, every case gets the record it deserves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch

from collapse_tests.cases import Case
from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.protocol import no_progress
from collapse_tests.engine.bench import Bench
from collapse_tests.engine.runner import BatchRunner
from collapse_tests.errors import ErrorKind, InfrastructureError, RestorationError
from collapse_tests.models.editable import EditableModel
from collapse_tests.records import Perplexity, Record, Verdict
from collapse_tests.settings import Settings
from collapse_tests.weight_update import DenseDelta, WeightUpdate
from fixtures.tiny_models import make_model
from tests.unit.tiny import as_dense, low_rank, shared_model

SETTINGS = Settings(("fake",), ppl_limit=1e9, seed=7)
TEXTS = ("The capital of Norway is Oslo and the rain", "You play the violin in Paris", "The cat and the cheese")
CASES = tuple(
    Case("tiny", "fake", f"facts:{index}", request)
    for index, request in enumerate(
        (
            EditRequest("The capital of Norway is", "Norway", "Lima", "Oslo", "Norway play the", "The cat", "is"),
            EditRequest("Rome is in", "Rome", "the rain", "a city"),
            EditRequest("The river of Paris is", "Paris", "bread"),
        )
    )
)
Edit = Callable[[EditableModel, EditRequest], WeightUpdate]


class Fake:
    """An editor of one function per request."""

    name = "fake"

    def __init__(self, edit: Edit) -> None:
        self.edit = edit

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        return [self.edit(model, request) for request in requests]


class Whole(Fake):
    """An editor of one function per batch."""

    def __init__(self, edit: Callable[[Sequence[EditRequest]], list[WeightUpdate]]) -> None:
        self.edit_all = edit

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        return self.edit_all(requests)


def small(model: EditableModel, request: EditRequest) -> WeightUpdate:
    """A harmless update that differs from request to request."""
    update = low_rank(model, model.mlp_output_weight(1), seed=len(request.prompt), scale=0.1)
    return WeightUpdate(update.deltas, {"seed": float(len(request.prompt))})


def bench_of(model: EditableModel, limit: float = 1e9) -> Bench:
    return Bench(model, TEXTS, limit)


def run(bench: Bench, editor: Fake, cases: Sequence[Case] = CASES) -> list[Record]:
    return BatchRunner(bench, editor, SETTINGS, "gw3", no_progress).run(cases)


def numbers(record: Record) -> list[float]:
    """Everything measured, in one flat list."""
    assert record.edited is not None
    assert record.quality is not None
    quality = record.quality
    flags = [quality.success, quality.greedy_match, bool(quality.generalisation), bool(quality.locality)]
    return [
        record.edited.me_ppl,
        record.edited.corpus_ppl,
        quality.target_probability,
        quality.target_probability_before,
        quality.ground_truth_probability or 0.0,
        *map(float, flags),
    ]


@torch.no_grad()
def probability(model: EditableModel, prompt: str, answer: str) -> float:
    ids, labels = model.encode(prompt), model.answer_ids(prompt, answer)
    logits = model.model(torch.tensor([[*ids, *labels]])).logits[0].double().log_softmax(-1)
    return math.exp(sum(float(logits[len(ids) - 1 + index, label]) for index, label in enumerate(labels)))


@torch.no_grad()
def me_ppl(model: EditableModel) -> float:
    sentences = []
    for text in TEXTS:
        ids = torch.tensor([model.encode(text, special_tokens=False)])
        sentences.append(math.exp(float(model.model(ids, labels=ids).loss)))
    return sum(sentences) / len(sentences)


# What is measured ---------------------------------------------------------------------------------------------


def test_records_hold_what_the_edited_model_says(model: EditableModel) -> None:
    records = run(bench_of(model), Fake(small))
    for case, record in zip(CASES, records, strict=True):
        assert record.case_id == case.id
        assert record.unedited is not None
        assert record.unedited.me_ppl == pytest.approx(me_ppl(model), rel=1e-4)
        assert record.quality is not None
        request = case.request
        before = probability(model, request.prompt, request.target_new)
        assert record.quality.target_probability_before == pytest.approx(before, rel=1e-3)
        update = small(model, request)
        with model.applied(update):
            assert record.edited is not None
            assert record.edited.me_ppl == pytest.approx(me_ppl(model), rel=1e-4)
            after = probability(model, request.prompt, request.target_new)
            assert record.quality.target_probability == pytest.approx(after, rel=1e-3)
            if request.ground_truth is not None:
                truth = probability(model, request.prompt, request.ground_truth)
                assert record.quality.ground_truth_probability == pytest.approx(truth, rel=1e-3)
                assert record.quality.success is (after > truth)
        assert record.diagnostics == update.diagnostics
        assert (record.model_digest, record.seed, record.worker, record.ppl_limit) == (model.digest, 7, "gw3", 1e9)
        stages = {"edit", "perplexity", "quality"}
        assert set(record.seconds) == stages | ({"continuation"} if record.verdict is Verdict.INEFFECTIVE else set())
        assert record.error is None
        assert record.verdict in (Verdict.STABLE, Verdict.INEFFECTIVE)
    assert len({tuple(numbers(record)) for record in records}) == 3


def test_a_batch_measures_what_its_cases_measure_alone(model: EditableModel) -> None:
    bench = bench_of(model)
    together = run(bench, Fake(small))
    for case, record in zip(CASES, together, strict=True):
        (alone,) = run(bench, Fake(small), [case])
        assert numbers(record) == pytest.approx(numbers(alone), rel=1e-4)
        assert replace(record, seconds={}, edited=None, quality=None) == replace(
            alone, seconds={}, edited=None, quality=None
        )


def test_dense_and_low_rank_editors_measure_alike(model: EditableModel) -> None:
    bench = bench_of(model)
    low = run(bench, Fake(small))
    dense = run(bench, Fake(lambda model, request: as_dense(model, small(model, request))))
    for first, second in zip(low, dense, strict=True):
        assert numbers(first) == pytest.approx(numbers(second), rel=1e-4)
        assert first.verdict is second.verdict


def test_an_editor_that_does_nothing_leaves_the_perplexity(model: EditableModel) -> None:
    for record in run(bench_of(model), Fake(lambda model, request: WeightUpdate({}))):
        assert record.edited is not None
        assert record.unedited is not None
        assert record.edited.me_ppl == pytest.approx(record.unedited.me_ppl, rel=1e-6)
        assert record.quality is not None
        assert record.quality.target_probability == pytest.approx(record.quality.target_probability_before, rel=1e-6)


@pytest.mark.parametrize("form", [small, lambda model, request: as_dense(model, small(model, request))])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_update_that_is_not_finite_collapses_its_own_case_alone(
    model: EditableModel, form: Edit, value: float
) -> None:
    def edit(model: EditableModel, request: EditRequest) -> WeightUpdate:
        if request.subject == "Rome":
            name = model.mlp_output_weight(1)
            return WeightUpdate({name: DenseDelta(torch.full(model.parameter(name).shape, value))})
        return form(model, request)

    bench = bench_of(model)
    first, broken, last = run(bench, Fake(edit))
    assert broken.verdict is Verdict.COLLAPSED
    assert broken.edited is not None
    assert math.isnan(broken.edited.me_ppl)
    assert broken.quality is not None
    assert not broken.quality.success
    for record, case in ((first, CASES[0]), (last, CASES[2])):
        (alone,) = run(bench, Fake(form), [case])
        assert numbers(record) == pytest.approx(numbers(alone), rel=1e-4)


def test_only_cases_that_fail_are_continued() -> None:
    model = shared_model("llama")
    bench = bench_of(model)

    def edit(model: EditableModel, request: EditRequest) -> WeightUpdate:
        return low_rank(model, model.mlp_output_weight(1), scale=math.nan if request.subject == "Rome" else 0.1)

    records = run(bench, Fake(edit))
    assert records[1].verdict is Verdict.COLLAPSED
    for record in records:
        failed = record.verdict is not Verdict.STABLE
        assert (record.continuation_before is not None) is failed
        assert (record.continuation_after is not None) is failed
    by_success = {record.verdict for record in run(bench, Fake(small), STABLE_CASES)}
    assert by_success == {Verdict.STABLE}
    assert [record.continuation_before for record in run(bench, Fake(small), STABLE_CASES)] == [None]


#: The answer said to be wrong is long and hence unlikely.
STABLE_CASES = (Case("tiny", "fake", "facts:9", EditRequest("Rome is", "Rome", "Oslo", "zzzzzzzzzzzz")),)


# Editors that fail --------------------------------------------------------------------------------------------


def test_an_editor_that_raises_fails_its_own_case_alone(model: EditableModel) -> None:
    def edit(model: EditableModel, request: EditRequest) -> WeightUpdate:
        if request.subject == "Rome":
            raise ZeroDivisionError("on purpose")
        return small(model, request)

    bench = bench_of(model)
    records = run(bench, Fake(edit))
    assert records[1].verdict is Verdict.ERROR
    assert records[1].error == "fake raised ZeroDivisionError: on purpose"
    assert records[1].edited is None
    for record, case in ((records[0], CASES[0]), (records[2], CASES[2])):
        assert numbers(record) == pytest.approx(numbers(run(bench, Fake(small), [case])[0]), rel=1e-4)


def test_an_update_that_does_not_fit_fails_its_own_case_alone(model: EditableModel) -> None:
    def edit(model: EditableModel, request: EditRequest) -> WeightUpdate:
        if request.subject == "Rome":
            return WeightUpdate({model.mlp_output_weight(1): DenseDelta(torch.ones(3, 5))})
        return small(model, request)

    records = run(bench_of(model), Fake(edit))
    assert records[1].verdict is Verdict.ERROR
    assert "(3, 5)" in str(records[1].error)
    assert all(record.verdict in (Verdict.STABLE, Verdict.INEFFECTIVE) for record in (records[0], records[2]))


def test_an_update_of_an_unknown_parameter_fails_its_own_case_alone(model: EditableModel) -> None:
    def edit(model: EditableModel, request: EditRequest) -> WeightUpdate:
        return (
            WeightUpdate({"no.such.weight": DenseDelta(torch.ones(1))})
            if request.subject == "Rome"
            else small(model, request)
        )

    records = run(bench_of(model), Fake(edit))
    assert [record.verdict is Verdict.ERROR for record in records] == [False, True, False]
    assert "'no.such.weight'" in str(records[1].error)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_wrong_number_of_updates_is_an_error(change: int) -> None:
    bench = bench_of(shared_model("llama"))
    editor = Whole(lambda requests: [WeightUpdate({})] * (len(requests) + change))
    for record in run(bench, editor):
        assert record.verdict is Verdict.ERROR
        assert f"{1 + change} values for 1 requests" in str(record.error)


def test_what_is_no_update_is_an_error() -> None:
    editor = Whole(lambda requests: [{"weight": 1} for _ in requests])  # type: ignore[misc]
    for record in run(bench_of(shared_model("llama")), editor):
        assert record.verdict is Verdict.ERROR
        assert "one WeightUpdate for each" in str(record.error)


def test_batches_that_do_not_fit_into_memory_are_edited_in_halves() -> None:
    bench = bench_of(shared_model("llama"))
    sizes: list[int] = []

    def edit(requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        sizes.append(len(requests))
        if len(requests) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [small(bench.model, request) for request in requests]

    records = run(bench, Whole(edit))
    assert sizes == [3, 1, 2, 1, 1]
    expected = run(bench, Fake(small))
    assert [numbers(record) for record in records] == [numbers(record) for record in expected]


def test_one_edit_that_does_not_fit_into_memory_says_so() -> None:
    def edit(model: EditableModel, request: EditRequest) -> WeightUpdate:
        if request.subject == "Rome":
            raise MemoryError
        return small(model, request)

    records = run(bench_of(shared_model("llama")), Fake(edit))
    assert [record.verdict is Verdict.ERROR for record in records] == [False, True, False]
    assert "ran out of memory with a single edit" in str(records[1].error)
    assert records[1].error_kind is ErrorKind.INFRASTRUCTURE


def test_records_say_whose_fault_an_error_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def edit(model: EditableModel, request: EditRequest) -> WeightUpdate:
        if request.subject == "Rome":
            raise ValueError("no Rome today")
        return small(model, request)

    bench = bench_of(shared_model("llama"))
    assert [record.error_kind for record in run(bench, Fake(edit))] == [None, ErrorKind.EDITOR, None]
    assert {record.error_kind for record in run(bench, Whole(lambda requests: []))} == {ErrorKind.EDITOR}

    def fail(*arguments: object) -> object:
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(bench, "scores", fail)
    assert {record.error_kind for record in run(bench, Fake(small))} == {ErrorKind.INFRASTRUCTURE}


def test_an_interrupt_gets_out() -> None:
    def edit(model: EditableModel, request: EditRequest) -> WeightUpdate:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(bench_of(shared_model("llama")), Fake(edit))


@pytest.mark.parametrize("raises", [False, True])
def test_a_model_left_changed_is_an_error_that_names_the_tensors(raises: bool) -> None:
    model = make_model("llama")
    bench = bench_of(model)

    def edit(model: EditableModel, request: EditRequest) -> WeightUpdate:
        model.model.model.norm.weight[0] += 1
        if raises:
            raise ValueError("and then it raised")
        return small(model, request)

    runner = BatchRunner(bench, Fake(edit), SETTINGS, "main", no_progress)
    for record in runner.run(CASES):
        assert record.verdict is Verdict.ERROR
        assert record.error == "editor 'fake' left the model changed: model.norm.weight"
        assert record.edited is None
        assert record.error_kind is ErrorKind.RESTORATION
    assert isinstance(runner.spoiled, RestorationError)


# The bench ----------------------------------------------------------------------------------------------------


def test_an_unedited_model_at_the_limit_is_refused() -> None:
    model = shared_model("gpt2")
    exact = bench_of(model).unedited.me_ppl
    assert bench_of(model, math.nextafter(exact, math.inf)).unedited.me_ppl == exact
    with pytest.raises(InfrastructureError, match=r"unedited model 'tiny-gpt2' has ME-PPL .*--ppl-limit"):
        bench_of(model, exact)


def test_perplexities_of_updates(model: EditableModel) -> None:
    bench = bench_of(model)
    update = small(model, CASES[0].request)
    found = bench.perplexities([update, WeightUpdate({})])
    assert all(isinstance(one, Perplexity) for one in found)
    assert found[1].me_ppl == pytest.approx(bench.unedited.me_ppl, rel=1e-6)
    assert found[0].me_ppl != pytest.approx(bench.unedited.me_ppl, rel=1e-3)
    assert (found[0].sentences, found[0].tokens) == (bench.unedited.sentences, bench.unedited.tokens)
