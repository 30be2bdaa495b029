"""Scores computed side by side equal those of applying, running in full and reverting, row by row."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from collapse_tests.engine.scoring import RowCache, Scorer
from collapse_tests.metrics.rows import ForkedRow, Row, RowScore, TokenRow
from collapse_tests.models.editable import EditableModel
from collapse_tests.weight_update import WeightUpdate
from fixtures.tiny_models import FAMILIES
from tests.unit.tiny import dense, low_rank, shared_model

NOTHING = WeightUpdate({})


@torch.no_grad()
def naive(model: EditableModel, row: TokenRow, update: WeightUpdate | None) -> RowScore:
    """The definition: the library's forward pass of one row on the edited model."""
    with model.applied(update or NOTHING):
        logits = model.model(torch.tensor([row.ids])).logits[0].double()
    wanted = row.ids[row.first_label :]
    log_probabilities = logits[row.first_label - 1 : -1].log_softmax(-1)
    nll = -sum(float(column[label]) for column, label in zip(log_probabilities, wanted, strict=True))
    predicted = tuple(log_probabilities.argmax(-1).tolist())
    return RowScore(nll, len(wanted), predicted, predicted == wanted)


def naive_scores(model: EditableModel, rows: list[Row], update: WeightUpdate | None) -> list[RowScore]:
    """The definition for every row, and for every continuation of a forked one."""
    straight: list[TokenRow] = []
    for row in rows:
        if isinstance(row, ForkedRow):
            length = len(row.context)
            straight += [TokenRow((*row.context, *part), length) for part in row.continuations]
        else:
            assert isinstance(row, TokenRow)
            straight.append(row)
    return [naive(model, row, update) for row in straight]


def random_update(model: EditableModel, kind: str, numbers: random.Random) -> WeightUpdate:
    names = [name for name, tensor in model.model.named_parameters() if tensor.ndim == 2]
    inside = [name for name in names if name.startswith(model.family.blocks_path)]
    seed = numbers.randrange(1000)
    if kind == "low rank":
        chosen = numbers.sample(inside, numbers.randint(1, 2))
        return low_rank(model, *chosen, rank=numbers.randint(1, 3), seed=seed)
    if kind == "dense":
        everything = [name for name, _ in model.model.named_parameters()]
        return dense(model, *numbers.sample(everything, numbers.randint(1, 2)), seed=seed)
    return WeightUpdate({})


def random_rows(numbers: random.Random, count: int) -> list[Row]:
    rows: list[Row] = []
    for _ in range(count):
        ids = random_ids(numbers, 2, 14)
        if numbers.random() < 0.5:
            rows.append(TokenRow(ids, numbers.randint(1, len(ids) - 1)))
        else:
            rows.append(ForkedRow(ids, tuple(random_ids(numbers, 1, 4) for _ in range(numbers.randint(1, 4)))))
    return rows


def random_ids(numbers: random.Random, shortest: int, longest: int) -> tuple[int, ...]:
    return tuple(numbers.randrange(2, 300) for _ in range(numbers.randint(shortest, longest)))


KINDS = st.lists(st.sampled_from(["low rank", "dense", "nothing"]), min_size=1, max_size=4)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=12, deadline=None, database=None, derandomize=True)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 6), max_tokens=st.integers(8, 500), kinds=KINDS)
def test_shared_rows_score_as_if_each_update_were_alone(
    family: str, seed: int, count: int, max_tokens: int, kinds: list[str]
) -> None:
    model, numbers = shared_model(family), random.Random(seed)
    rows = random_rows(numbers, count)
    updates = [random_update(model, kind, numbers) for kind in kinds]
    scorer, cache = Scorer(model, max_tokens), RowCache(rows, predict=True)
    # All at once, and one half after the other on the same cache.
    half = len(updates) // 2
    parts = [updates[:half], updates[half:]]
    for scores in (scorer.shared(cache, updates), [s for part in parts if part for s in scorer.shared(cache, part)]):
        assert len(scores) == len(updates)
        for update, case in zip(updates, scores, strict=True):
            expected = naive_scores(model, rows, update)
            assert [score.nll for score in case] == pytest.approx([score.nll for score in expected], rel=1e-4)
            assert [score.labels for score in case] == [score.labels for score in expected]
            assert [score.predicted for score in case] == [score.predicted for score in expected]
    assert model.changed_tensors() == []


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=12, deadline=None, database=None, derandomize=True)
@given(seed=st.integers(0, 10**6), max_tokens=st.integers(8, 500), kinds=KINDS)
def test_own_rows_score_as_if_each_case_were_alone(family: str, seed: int, max_tokens: int, kinds: list[str]) -> None:
    model, numbers = shared_model(family), random.Random(seed)
    updates = [None if kind == "nothing" else random_update(model, kind, numbers) for kind in kinds]
    rows = [random_rows(numbers, numbers.randint(0, 4)) for _ in kinds]
    scores = Scorer(model, max_tokens).each(rows, updates)
    for update, own, found in zip(updates, rows, scores, strict=True):
        expected = naive_scores(model, own, update)
        assert [score.nll for score in found] == pytest.approx([score.nll for score in expected], rel=1e-4)
        assert [score.labels for score in found] == [score.labels for score in expected]
        # Random logits are never so close that rounding could swap the two largest.
        assert [score.predicted for score in found] == [score.predicted for score in expected]
    assert model.changed_tensors() == []


def test_a_greedy_match_is_told(model: EditableModel) -> None:
    ids = [5, 9, 40]
    update = low_rank(model, *(model.mlp_output_weight(block) for block in range(4)), seed=3, scale=1.0)
    with model.applied(update), torch.no_grad():
        for _ in range(3):
            ids.append(int(model.model(torch.tensor([ids])).logits[0, -1].argmax()))
    right = TokenRow(tuple(ids), 3)
    wrong = TokenRow((*ids[:-1], (ids[-1] + 1) % 300), 3)
    ((match, no_match), (unedited,)) = Scorer(model).each([[right, wrong], [right]], [update, None])
    assert match.greedy_match
    assert match.predicted == tuple(ids[3:])
    assert not no_match.greedy_match
    assert no_match.predicted == match.predicted
    assert unedited.greedy_match == (unedited.predicted == tuple(ids[3:]))
    assert unedited.predicted != match.predicted


@pytest.mark.parametrize("family", FAMILIES)
def test_a_change_of_any_parameter_is_seen(family: str) -> None:
    model, rows = shared_model(family), random_rows(random.Random(0), 2)
    for name, _ in model.model.named_parameters():
        updates = [dense(model, name), low_rank(model, model.mlp_output_weight(2))]
        found = Scorer(model).each([rows, rows], updates)
        shared = Scorer(model).shared(RowCache(rows), updates)
        for update, own, same in zip(updates, found, shared, strict=True):
            expected = [score.nll for score in naive_scores(model, rows, update)]
            assert [score.nll for score in own] == pytest.approx(expected, rel=1e-4), name
            assert [score.nll for score in same] == pytest.approx(expected, rel=1e-4), name


def test_a_cache_serves_updates_of_other_blocks_in_any_order(model: EditableModel) -> None:
    rows = random_rows(random.Random(0), 5)
    cache, scorer = RowCache(rows), Scorer(model)
    for block in (2, 0, 3, 3, 1):
        update = low_rank(model, model.mlp_output_weight(block), seed=block)
        ((*scores,),) = scorer.shared(cache, [update])
        expected = [score.nll for score in naive_scores(model, rows, update)]
        assert [score.nll for score in scores] == pytest.approx(expected, rel=1e-4)


def test_logits_are_taken_in_slices_without_a_difference(model: EditableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = random_rows(random.Random(0), 5)
    updates = [low_rank(model, model.mlp_output_weight(1), seed=seed) for seed in range(2)]
    expected = Scorer(model).each([rows, rows], updates)
    monkeypatch.setattr("collapse_tests.models.workload._CPU_LOGITS", 3 * model.vocabulary_size)
    for found, whole in zip(Scorer(model).each([rows, rows], updates), expected, strict=True):
        assert [score.predicted for score in found] == [score.predicted for score in whole]
        assert [score.nll for score in found] == pytest.approx([score.nll for score in whole], rel=1e-6)


@pytest.mark.parametrize("make", [low_rank, dense])
def test_a_case_that_is_not_finite_does_not_touch_the_others(model: EditableModel, make: type) -> None:
    name = model.mlp_output_weight(1)
    rows = random_rows(random.Random(0), 3)
    good = low_rank(model, name)
    scorer = Scorer(model)
    for value in (float("nan"), float("inf")):
        bad = make(model, name, scale=value)
        shared = scorer.shared(RowCache(rows), [good, bad, good])
        each = scorer.each([rows, rows, rows], [good, bad, None])
        assert all(score.nll != score.nll for score in (*shared[1], *each[1]))
        expected = [score.nll for score in naive_scores(model, rows, good)]
        for scores in (shared[0], shared[2], each[0]):
            assert [score.nll for score in scores] == pytest.approx(expected, rel=1e-4)


def test_no_updates_and_no_rows(model: EditableModel) -> None:
    assert Scorer(model).shared(RowCache(random_rows(random.Random(0), 2)), []) == []
    assert Scorer(model).each([[], []], [None, None]) == [[], []]


def test_less_at_a_time_when_memory_runs_out_gives_the_same(
    model: EditableModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = random_rows(random.Random(1), 6)
    updates = [low_rank(model, model.mlp_output_weight(1), seed=seed) for seed in range(4)]
    expected = Scorer(model).shared(RowCache(rows), updates), Scorer(model).each([rows] * 4, updates)
    whole = EditableModel.run_blocks

    def cramped(self: EditableModel, hidden: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if hidden.shape[:2].numel() > 60:
            raise torch.OutOfMemoryError
        return whole(self, hidden, *args, **kwargs)

    monkeypatch.setattr(EditableModel, "run_blocks", cramped)
    scorer = Scorer(model, 10_000)
    found = scorer.shared(RowCache(rows), updates), scorer.each([rows] * 4, updates)

    for ours, theirs in zip(itertools.chain(*found), itertools.chain(*expected), strict=True):
        assert [score.nll for score in ours] == pytest.approx([score.nll for score in theirs], rel=1e-4)
    assert scorer.budget.tokens <= 60  # remembered


def test_a_row_that_does_not_fit_by_itself_is_out_of_memory(
    model: EditableModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> torch.Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(EditableModel, "run_blocks", full)

    with pytest.raises(torch.OutOfMemoryError):
        Scorer(model).each([random_rows(random.Random(1), 3)], [None])


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=8, deadline=None, database=None, derandomize=True)
@given(seed=st.integers(0, 10**6), max_tokens=st.integers(8, 500))
def test_edited_weights_are_scored_as_they_are_from_the_edited_block_on(
    family: str, seed: int, max_tokens: int
) -> None:
    model, numbers = shared_model(family), random.Random(seed)
    rows = random_rows(numbers, 4)
    scorer, cache = Scorer(model, max_tokens), RowCache(rows)
    update = low_rank(model, model.mlp_output_weight(1), seed=seed % 97)
    unedited = scorer.as_is(cache, 1)
    with model.applied(update):
        edited = scorer.as_is(cache, 1)
    assert [s.nll for s in unedited] == pytest.approx([s.nll for s in naive_scores(model, rows, None)], rel=1e-4)
    assert [s.nll for s in edited] == pytest.approx([s.nll for s in naive_scores(model, rows, update)], rel=1e-4)


def test_continuations_share_the_pass_over_their_context() -> None:
    row = ForkedRow((7, 8, 9), ((1,), (2,), (3, 4), (5, 6)))
    layout = row.layout()
    assert list(layout.ids) == [7, 8, 9, 3, 5]
    assert list(layout.positions) == [0, 1, 2, 3, 3]
    assert not layout.is_straight
    assert ForkedRow((7, 8), ((1,), (2,))).layout().is_straight


def test_rows_too_many_to_keep_score_the_same(model: EditableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = random_rows(random.Random(1), 6)
    updates = [low_rank(model, model.mlp_output_weight(1), seed=seed) for seed in range(3)]
    expected = Scorer(model, 40).shared(RowCache(rows, predict=True), updates)
    monkeypatch.setattr("collapse_tests.engine.scoring.kept_tokens", lambda model: 0)
    cache, scorer = RowCache(rows, predict=True), Scorer(model, 40)
    assert scorer.shared(cache, updates) == expected
    assert scorer.shared(cache, updates[:1]) == expected[:1]
    assert cache.buckets == []
