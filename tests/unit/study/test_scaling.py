from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch

from collapse_tests.study.scaling import LARGEST_FACTOR, TOLERANCE, Found, Point, reach_levels, scaled
from tests.unit.tiny import as_dense, dense, low_rank, shared_model

UNEDITED = 100.0
Curve = Callable[[float], float]


def reach(*curves: Curve, levels: Sequence[float]) -> list[dict[float, Found]]:
    def measure(points: Sequence[Point]) -> list[float]:
        assert len(set(points)) == len(points)
        assert all(0 < factor <= LARGEST_FACTOR for _, factor in points)
        return [curves[update](factor) for update, factor in points]

    return reach_levels(measure, len(curves), levels, UNEDITED)


def near(found: Found, level: float) -> bool:
    return abs(found.me_ppl - level) <= TOLERANCE * level


@pytest.mark.parametrize("rate", [3.0, 8.0, 60.0])
@pytest.mark.parametrize("power", [0.5, 1.0, 3.0])
def test_levels_of_a_rising_curve_are_reached(rate: float, power: float) -> None:
    def curve(factor: float) -> float:
        return UNEDITED * math.exp(rate * factor**power)

    levels = [level for level in (110.0, 500.0, 5e3, 5e4) if level < 0.9 * curve(LARGEST_FACTOR)]
    (found,) = reach(curve, levels=levels)
    assert list(found) == levels
    for level in levels:
        assert near(found[level], level)
        assert found[level].me_ppl == curve(found[level].factor)


def test_a_curve_below_the_level_does_not_reach_it() -> None:
    low, high = reach(lambda t: 100 + 50 * t, lambda t: 100 + 500 * t, levels=[150.0, 400.0, 2000.0])
    assert list(low) == [150.0]
    assert list(high) == [150.0, 400.0]


def test_the_unedited_model_never_stands_in_for_a_level() -> None:
    (found,) = reach(lambda t: 100 + 240 * t, levels=[103.0])
    assert found[103.0].factor > 0
    assert found[103.0].me_ppl > UNEDITED


def test_a_jump_over_the_level_does_not_reach_it() -> None:
    (found,) = reach(lambda t: 120.0 if t < 0.7 else 1e6, levels=[1000.0])
    assert found == {}


@pytest.mark.parametrize("beyond", [math.inf, math.nan])
def test_a_curve_that_ends_in_no_number_is_reached_before(beyond: float) -> None:
    def curve(factor: float) -> float:
        return UNEDITED * math.exp(6 * factor) if factor < 0.6 else beyond

    (found,) = reach(curve, levels=[500.0, 2000.0, 1e5])
    assert list(found) == [500.0, 2000.0]
    assert all(near(one, level) for level, one in found.items())


def test_numbers_that_come_back_beyond_no_number_are_too_late() -> None:
    (found,) = reach(lambda t: math.nan if 0.4 < t < 0.8 else 100 * math.exp(3 * t), levels=[200.0, 2000.0])
    assert list(found) == [200.0]


def test_the_first_of_several_crossings_is_taken() -> None:
    def hill(factor: float) -> float:
        return 100 + 2000 * math.sin(2 * math.pi * factor) ** 2

    (found,) = reach(hill, levels=[1100.0])
    assert found[1100.0].factor == pytest.approx(0.125, rel=0.05)


def test_a_level_between_an_update_that_fails_and_one_that_does_not() -> None:
    reached = reach(lambda t: math.nan, lambda t: 100 * math.exp(5 * t), lambda t: 100.0, levels=[1000.0])
    assert [list(one) for one in reached] == [[], [1000.0], []]


def test_no_updates_ask_for_no_measurement() -> None:
    assert reach(levels=[1000.0]) == []


@pytest.mark.parametrize("factor", [0.25, 1.0, 1.5])
def test_scaling_multiplies_the_change_of_every_weight(factor: float) -> None:
    model = shared_model("gpt2")
    names = model.mlp_output_weight(1), model.mlp_output_weight(2)
    update = low_rank(model, *names, rank=2)
    once = as_dense(model, update).deltas
    for made in (as_dense(model, scaled(update, factor)), scaled(as_dense(model, update), factor)):
        for name in names:
            torch.testing.assert_close(made.deltas[name].delta, factor * once[name].delta)  # type: ignore[union-attr]
    assert scaled(update, factor).is_low_rank
    assert not scaled(dense(model, names[0]), factor).is_low_rank
