from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from collapse_tests.metrics.item_scores import ChanceModel, ItemScores
from collapse_tests.records import TaskResult, TaskVerdict
from collapse_tests.verdict import ALPHA, choice_chance, has_margin, task_verdict
from collapse_tests.verdict.exact import fewest_hits, passes_again

QUARTER = ChanceModel((0.25,) * 100, "1/k")


def hits(right: int, items: int = 100) -> ItemScores:
    return ItemScores((1.0,) * right + (0.0,) * (items - right), right / items, finite=True)


def verdict(
    chance: ChanceModel,
    unedited: ItemScores,
    edited: ItemScores,
    *,
    alpha: float = ALPHA,
    gate_on_drop: bool = False,
) -> TaskResult:
    return task_verdict("capitals", "acc", chance, unedited, edited, alpha=alpha, gate_on_drop=gate_on_drop)


# Right and wrong ----------------------------------------------------------------------------------------------


def test_numbers_are_passed_on() -> None:
    found = verdict(QUARTER, hits(80), hits(30))
    assert found == TaskResult(
        task="capitals",
        metric="acc",
        items=100,
        unedited=0.8,
        edited=0.3,
        chance=0.25,
        p_value=found.p_value,
        lost=50,
        gained=0,
        drop_p_value=found.drop_p_value,
        verdict=TaskVerdict.RANDOM,
    )
    assert found.p_value == pytest.approx(0.1495, abs=1e-4)
    assert found.drop_p_value == pytest.approx(2.0**-50)


@pytest.mark.parametrize(
    ("options", "items", "alpha", "needed"),
    [(2, 100, 0.01, 63), (4, 100, 0.01, 36), (2, 20, 0.05, 15), (4, 20, 0.05, 9)],
)
def test_one_hit_decides(options: int, items: int, alpha: float, needed: int) -> None:
    chance = ChanceModel((1 / options,) * items, "1/k")
    certain = ItemScores((1.0,) * items, 1.0, finite=True)
    enough = verdict(chance, certain, hits(needed, items), alpha=alpha)
    missed = verdict(chance, certain, hits(needed - 1, items), alpha=alpha)
    assert enough.p_value <= alpha < missed.p_value
    if has_margin(chance, certain, alpha):
        assert (enough.verdict, missed.verdict) == (TaskVerdict.ABOVE, TaskVerdict.RANDOM)
    else:
        assert (options, items) == (2, 20)  # no score on so few is far enough above so high a chance
        assert enough.verdict is missed.verdict is TaskVerdict.UNINFORMATIVE


@pytest.mark.parametrize(("right", "expected"), [(100, TaskVerdict.ABOVE), (0, TaskVerdict.RANDOM)])
def test_all_and_none_right(right: int, expected: TaskVerdict) -> None:
    found = verdict(QUARTER, hits(100), hits(right))
    assert found.verdict is expected
    assert found.p_value == pytest.approx(0.25**100 if right else 1.0)


def test_every_item_counts_with_its_own_number_of_options() -> None:
    chance = choice_chance([2, 4] * 20, [0, 0, 1, 1, 0, 2, 1, 3] * 5, [[1, 1], [1, 1, 1, 1]] * 20)
    assert chance.note == "1/k"
    certain = hits(40, 40)
    assert verdict(chance, certain, hits(23, 40)).p_value <= 0.01 < verdict(chance, certain, hits(22, 40)).p_value


def test_a_strategy_that_reaches_more_than_guessing_is_no_skill() -> None:
    # The right option is the longest in 40 of 100 items; answering by length looks significant against 1/4.
    lengths = [[1.0] * 4 for _ in range(100)]
    gold = [item % 4 for item in range(100)]
    for item in range(100):
        lengths[item][gold[item] if item < 40 else (gold[item] + 1) % 4] = 2.0
    chance = choice_chance([4] * 100, gold, lengths)
    assert verdict(QUARTER, hits(100), hits(40)).verdict is TaskVerdict.ABOVE
    assert verdict(chance, hits(100), hits(40)).verdict is TaskVerdict.RANDOM


# Margin -------------------------------------------------------------------------------------------------------


def test_the_unedited_model_needs_a_margin_and_not_only_to_pass() -> None:
    first = next(right for right in range(101) if has_margin(QUARTER, hits(right)))
    assert first == 58
    assert passes_again(58, 100, 36) >= 0.999 > passes_again(57, 100, 36)
    assert verdict(QUARTER, hits(57), hits(57)).p_value < 1e-10
    assert verdict(QUARTER, hits(57), hits(25)).verdict is TaskVerdict.UNINFORMATIVE
    assert verdict(QUARTER, hits(57), hits(100)).verdict is TaskVerdict.UNINFORMATIVE
    assert verdict(QUARTER, hits(58), hits(25)).verdict is TaskVerdict.RANDOM


def test_a_perfect_score_on_few_items_is_no_margin() -> None:
    chance = ChanceModel((0.5,) * 7, "1/k")
    assert fewest_hits(chance.rates, ALPHA) == 7  # so a single further miss would be an alarm
    assert not has_margin(chance, hits(7, 7))


def test_no_items_say_nothing() -> None:
    empty = ItemScores((), math.nan, finite=True)
    found = verdict(ChanceModel((), "1/k"), empty, empty)
    assert found.verdict is TaskVerdict.UNINFORMATIVE
    assert math.isnan(found.chance)
    assert not has_margin(ChanceModel((), "1/k"), ItemScores((), 0.0, finite=True))


# Drops --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edited", "gate_on_drop", "expected"),
    [
        (93, True, TaskVerdict.ABOVE),  # 6 lost: p = 1/64
        (92, True, TaskVerdict.DROPPED),  # 7 lost: p = 1/128
        (92, False, TaskVerdict.ABOVE),
        (30, True, TaskVerdict.RANDOM),
    ],
)
def test_a_drop_counts_where_it_is_asked_for(edited: int, gate_on_drop: bool, expected: TaskVerdict) -> None:
    found = verdict(QUARTER, hits(99), hits(edited), gate_on_drop=gate_on_drop)
    assert found.verdict is expected
    assert found.lost == 99 - edited
    assert found.drop_p_value == pytest.approx(0.5 ** (99 - edited))


def test_gains_weigh_against_losses() -> None:
    turned = ItemScores(tuple(reversed(hits(92).values)), 0.92, finite=True)
    found = verdict(QUARTER, hits(92), turned, gate_on_drop=True)
    assert (found.lost, found.gained) == (8, 8)
    assert found.verdict is TaskVerdict.ABOVE


def test_a_drop_needs_an_informative_task() -> None:
    found = verdict(QUARTER, hits(50), hits(40), gate_on_drop=True)
    assert found.drop_p_value < 0.01
    assert found.verdict is TaskVerdict.UNINFORMATIVE


# Not finite ---------------------------------------------------------------------------------------------------


def not_finite(scores: ItemScores) -> list[ItemScores]:
    return [
        replace(scores, finite=False),
        *(replace(scores, score=value) for value in (math.nan, math.inf, -math.inf)),
        *(replace(scores, values=(value, *scores.values[1:])) for value in (math.nan, math.inf, -math.inf)),
    ]


@pytest.mark.parametrize("edited", not_finite(hits(100)))
@pytest.mark.parametrize("right", [100, 30])
@pytest.mark.parametrize("gate_on_drop", [True, False])
def test_scores_that_are_not_finite_never_pass(edited: ItemScores, right: int, gate_on_drop: bool) -> None:
    found = verdict(QUARTER, hits(right), edited, gate_on_drop=gate_on_drop)
    assert found.verdict is TaskVerdict.RANDOM
    assert math.isnan(found.edited)
    assert math.isnan(found.p_value)
    assert math.isnan(found.drop_p_value)


@pytest.mark.parametrize("unedited", not_finite(hits(100)))
@pytest.mark.parametrize("edited", [hits(100), hits(20), replace(hits(20), finite=False)])
def test_an_unedited_model_that_is_not_finite_tells_nothing(unedited: ItemScores, edited: ItemScores) -> None:
    found = verdict(QUARTER, unedited, edited, gate_on_drop=True)
    assert found.verdict is TaskVerdict.UNINFORMATIVE
    assert math.isnan(found.unedited)
    assert math.isnan(found.drop_p_value)


def test_what_is_no_number_is_lost() -> None:
    edited = replace(hits(80), values=(math.nan, *hits(80).values[1:]))
    assert (verdict(QUARTER, hits(80), edited).lost, verdict(QUARTER, hits(80), edited).gained) == (1, 0)


# Graded -------------------------------------------------------------------------------------------------------

Overlap = Callable[[int, int], float]


def graded(overlap: Overlap, items: int = 40) -> ItemScores:
    values = tuple(overlap(item, item) for item in range(items))
    return ItemScores(values, float(np.mean(values)), finite=True, cross=overlap)


def skilled(right: float, wrong: float = 0.0, share: float = 1.0) -> ItemScores:
    return graded(lambda answer, item: right if answer == item and item < share * 40 else wrong)


LOW = ChanceModel((0.05,) * 40, "best constant answer")
GOOD = skilled(0.6, 0.02)


def test_graded_answers_to_their_own_questions_are_above_chance() -> None:
    found = verdict(LOW, GOOD, skilled(0.3, 0.02))
    assert found.verdict is TaskVerdict.ABOVE
    assert found.p_value == 1e-4  # as small as it gets
    assert (found.lost, found.gained) == (40, 0)


def test_one_answer_for_all_has_p_one() -> None:
    constant = graded(lambda answer, item: (1 + item % 5) / 7)  # sums differ in their last digits
    found = verdict(LOW, GOOD, constant)
    assert found.p_value == 1.0
    assert found.verdict is TaskVerdict.RANDOM


def test_answers_to_other_questions_are_random() -> None:
    table = np.random.default_rng(1).random((40, 40))
    found = verdict(LOW, GOOD, graded(lambda answer, item: float(table[answer, item])))
    assert 0.01 < found.p_value < 0.99
    assert found.verdict is TaskVerdict.RANDOM


def test_graded_answers_below_the_floor_are_random_however_well_they_match() -> None:
    found = verdict(LOW, GOOD, skilled(0.04))
    assert found.p_value == 1.0
    assert found.verdict is TaskVerdict.RANDOM


def test_all_wrong_is_random() -> None:
    assert verdict(LOW, GOOD, skilled(0.0)).p_value == 1.0


def test_p_values_of_few_orders_are_those_of_all_orders() -> None:
    # Only the order that is right throughout reaches its total: 1 in 4! = 24.
    four = graded(lambda answer, item: 0.7 * (answer == item), items=4)
    found = verdict(ChanceModel((0.25,) * 4, "1/n"), four, four)
    assert found.p_value == pytest.approx(1 / 24, abs=0.005)
    assert found.verdict is TaskVerdict.UNINFORMATIVE


def test_the_same_answers_have_the_same_p_value() -> None:
    table = np.random.default_rng(2).random((40, 40)) + 0.1 * np.eye(40)
    first, second = (graded(lambda answer, item: float(table[answer, item])) for _ in range(2))
    assert verdict(LOW, GOOD, first).p_value == verdict(LOW, GOOD, second).p_value


@pytest.mark.parametrize(
    ("unedited", "informative"),
    [
        (GOOD, True),
        (skilled(1.0), True),
        (skilled(0.6, share=0.15), False),  # six right: six others may be wrong next time
        (skilled(0.04), False),  # below the floor
        (graded(lambda answer, item: 0.5), False),
    ],
)
def test_graded_margins(unedited: ItemScores, informative: bool) -> None:
    assert has_margin(LOW, unedited) is informative


def test_a_level_that_no_number_of_orders_can_show() -> None:
    assert not has_margin(LOW, GOOD, 1e-5)


def test_right_and_wrong_given_as_graded_have_about_the_same_margin() -> None:
    chance = ChanceModel((1 / 40,) * 40, "1/n")
    for right in (8, 30):
        plain = hits(right, 40)
        as_graded = skilled(1.0, share=right / 40)
        assert as_graded.values == plain.values
        assert has_margin(chance, as_graded) is has_margin(chance, plain) is (right == 30)


def test_nothing_but_numbers_against_other_references_counts_for_them() -> None:
    def broken(answer: int, item: int) -> float:
        return 0.6 if answer == item else math.nan

    assert verdict(LOW, GOOD, graded(broken)).p_value == 1.0
    assert not has_margin(LOW, graded(broken))


# Arguments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chance", "unedited", "edited", "message"),
    [
        (LOW, hits(90), hits(90), "items"),
        (QUARTER, hits(9, 10), hits(90), "items"),
        (LOW, GOOD, hits(30, 40), "graded"),
        (LOW, hits(30, 40), GOOD, "graded"),
        (LOW, replace(GOOD, cross=None), replace(GOOD, cross=None), "cross"),
        (LOW, GOOD, replace(GOOD, cross=lambda answer, item: 0.5), "own references"),
    ],
)
def test_scores_that_do_not_fit_together_are_refused(
    chance: ChanceModel, unedited: ItemScores, edited: ItemScores, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        verdict(chance, unedited, edited)


def test_results_are_plain_numbers_whatever_the_scores_are_made_of() -> None:
    def as_numpy(scores: ItemScores) -> ItemScores:
        values: Sequence[float] = list(np.array(scores.values))
        return ItemScores(tuple(values), np.float64(scores.score), finite=True)

    found = verdict(QUARTER, as_numpy(hits(80)), as_numpy(hits(70)))
    plain = verdict(QUARTER, hits(80), hits(70))
    assert found == plain
    for name in TaskResult.__slots__:
        assert type(getattr(found, name)) is type(getattr(plain, name))
        assert not isinstance(getattr(found, name), np.generic)


def test_graded_answers_to_many_items_are_compared_across_300_of_them() -> None:
    calls: set[tuple[int, int]] = set()

    def cross(answer: int, item: int) -> float:
        calls.add((answer, item))
        return 0.9 * (answer == item)

    scores = ItemScores((0.9,) * 1200, 0.9, finite=True, cross=cross)
    result = task_verdict("task", "f1", ChanceModel((0.1,) * 1200, "1/n"), scores, scores)
    assert (result.items, result.verdict) == (1200, TaskVerdict.ABOVE)
    assert len(calls) == 300**2
    assert max(calls) == (1196, 1196)
