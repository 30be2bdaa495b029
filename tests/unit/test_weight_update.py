from __future__ import annotations

import math

import pytest
import torch

from collapse_tests.weight_update import DenseDelta, LowRankDelta, WeightUpdate


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rank", [1, 3])
def test_norm_is_that_of_the_matrix(rank: int) -> None:
    delta = LowRankDelta(random(5, rank), random(rank, 7, seed=1))
    assert delta.rank == rank
    assert delta.norm() == pytest.approx(float(torch.linalg.matrix_norm(delta.left @ delta.right)), rel=1e-6)
    assert DenseDelta(delta.matrix()).norm() == pytest.approx(delta.norm(), rel=1e-6)


def test_norm_does_not_overflow_before_float32_would() -> None:
    delta = LowRankDelta(torch.full((3, 1), 1e30), torch.full((1, 3), 1e8))
    assert delta.norm() == pytest.approx(3e38, rel=1e-6)


def test_norm_of_cancelling_factors_is_no_nan() -> None:
    left = random(5, 1)
    delta = LowRankDelta(torch.cat([left, -left], 1), torch.ones(2, 4))
    assert delta.norm() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_norms_of_what_is_not_finite_are_not_finite(value: float) -> None:
    low = LowRankDelta(torch.full((2, 1), value), torch.tensor([[1.0, 0.0]]))
    assert not math.isfinite(low.norm())
    assert not math.isfinite(WeightUpdate({"a": low, "b": DenseDelta(torch.ones(2))}).norm())
    assert not math.isfinite(DenseDelta(torch.full((2,), value)).norm())


def test_norm_over_all_parameters() -> None:
    assert WeightUpdate({"a": DenseDelta(torch.tensor([3.0])), "b": DenseDelta(torch.tensor([4.0]))}).norm() == 5
    assert WeightUpdate({}).norm() == 0


@pytest.mark.parametrize(("left", "right"), [((5, 2), (3, 7)), ((5,), (5, 7)), ((5, 1), (7,)), ((1, 5, 2), (2, 7))])
def test_factors_that_do_not_match_are_refused(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="low-rank factors must be"):
        LowRankDelta(torch.zeros(left), torch.zeros(right))


def test_composition_is_addition() -> None:
    first = LowRankDelta(random(5, 1), random(1, 7, seed=1))
    second = LowRankDelta(random(5, 2, seed=2), random(2, 7, seed=3))
    composed = WeightUpdate({"a": first}).compose(WeightUpdate({"a": second, "b": DenseDelta(torch.ones(2))}))
    both = composed.deltas["a"]
    assert isinstance(both, LowRankDelta)
    torch.testing.assert_close(both.matrix(), first.matrix() + second.matrix())
    twice = composed.compose(WeightUpdate({"b": DenseDelta(torch.ones(2))})).deltas["b"]
    assert isinstance(twice, DenseDelta)
    assert twice.delta.tolist() == [2, 2]


def test_dense_and_low_rank_changes_of_one_parameter_do_not_compose() -> None:
    low = WeightUpdate({"layer.weight": LowRankDelta(random(2, 1), random(1, 2))})
    with pytest.raises(ValueError, match=r"layer\.weight"):
        low.compose(WeightUpdate({"layer.weight": DenseDelta(torch.ones(2, 2))}))


def test_low_rank_means_every_change_is() -> None:
    low = LowRankDelta(random(2, 1), random(1, 2))
    assert WeightUpdate({"a": low}).is_low_rank
    assert WeightUpdate({}).is_low_rank
    assert not WeightUpdate({"a": low, "b": DenseDelta(torch.ones(2))}).is_low_rank
