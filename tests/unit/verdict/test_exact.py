from __future__ import annotations

from itertools import product
from math import prod

import pytest
from scipy import stats

from collapse_tests.verdict.exact import drop_p_value, fewest_hits, passes_again, upper_tail


@pytest.mark.parametrize(
    ("options", "items", "alpha", "needed"),
    [
        (2, 20, 0.05, 15),
        (2, 20, 0.01, 16),
        (2, 100, 0.05, 59),
        (2, 100, 0.01, 63),
        (4, 20, 0.05, 9),
        (4, 20, 0.01, 11),
        (4, 100, 0.05, 33),
        (4, 100, 0.01, 36),
    ],
)
def test_hits_that_are_enough(options: int, items: int, alpha: float, needed: int) -> None:
    assert fewest_hits((1 / options,) * items, alpha) == needed


@pytest.mark.parametrize(("alpha", "needed"), [(0.05, 21), (0.01, 23)])
def test_hits_that_are_enough_on_mixed_items(alpha: float, needed: int) -> None:
    assert fewest_hits((0.5,) * 20 + (0.25,) * 20, alpha) == needed


def test_hits_that_are_enough_on_free_answers() -> None:
    assert [fewest_hits((1 / 20,) * 20, alpha) for alpha in (0.05, 0.01)] == [4, 5]


@pytest.mark.parametrize("rates", [(0.5,) * 6, (0.25,) * 4, (0.5,) * 3, ()])
def test_too_few_items_are_never_enough(rates: tuple[float, ...]) -> None:
    alpha = 0.001
    assert fewest_hits(rates, alpha) == len(rates) + 1


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.25, 0.5, 1.0])
def test_one_rate_is_the_binomial_test(rate: float) -> None:
    tail = upper_tail((rate,) * 30)
    for hits in range(31):
        expected = stats.binomtest(hits, 30, rate, "greater").pvalue
        assert tail[hits] == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_mixed_rates_are_the_sum_over_all_outcomes() -> None:
    rates = (0.5, 0.25, 0.2, 0.5, 1 / 3, 0.9)
    expected = [0.0] * (len(rates) + 1)
    for outcome in product([0, 1], repeat=len(rates)):
        mass = prod(rate if hit else 1 - rate for rate, hit in zip(rates, outcome, strict=True))
        for hits in range(sum(outcome) + 1):
            expected[hits] += mass
    assert upper_tail(rates) == pytest.approx(expected)


def test_a_shared_result_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        upper_tail((0.5,) * 5)[0] = 0.0


@pytest.mark.parametrize(
    ("lost", "gained", "p_value"), [(5, 0, 1 / 32), (0, 0, 1.0), (0, 5, 1.0), (1, 1, 0.75), (7, 0, 1 / 128)]
)
def test_losses_are_compared_with_gains(lost: int, gained: int, p_value: float) -> None:
    assert drop_p_value(lost, gained) == pytest.approx(p_value)


def test_passing_again_is_a_draw_from_what_the_first_one_tells() -> None:
    # Jeffreys' prior and 3 of 3: the chance of three more is ∏ (3.5 + i) / (4 + i).
    assert passes_again(3, 3, 3) == pytest.approx(3.5 / 4 * 4.5 / 5 * 5.5 / 6)
    assert passes_again(3, 3, 0) == 1.0
    assert passes_again(3, 3, 4) == 0.0
    assert passes_again(50, 100, 50) == pytest.approx(0.5, abs=0.05)
