from __future__ import annotations

from statistics import fmean

import pytest

from collapse_tests.verdict import choice_chance, generative_floor

# Choices ------------------------------------------------------------------------------------------------------


def test_balanced_items_are_guessed() -> None:
    found = choice_chance([4] * 8, [0, 1, 2, 3] * 2, [[5, 5, 5, 5]] * 8)
    assert found.note == "1/k"
    assert found.rates == (0.25,) * 8


def test_items_with_unlike_numbers_of_options_keep_their_own_rates() -> None:
    found = choice_chance([2, 4, 2, 5], [0, 1, 1, 4], [[1] * 2, [1] * 4, [1] * 2, [1] * 5])
    assert found.note == "majority label"  # two of four, against a mean of 0.3625
    found = choice_chance([2, 4, 2, 5], [0, 3, 1, 2], [[1] * 2, [1] * 4, [1] * 2, [1] * 5])
    assert found.note == "1/k"
    assert found.rates == (0.5, 0.25, 0.5, 0.2)


def test_one_label_for_all_counts_by_items() -> None:
    found = choice_chance([2] * 5, [1, 1, 1, 0, 1], [[3, 3]] * 5)
    assert found.note == "majority label"
    assert found.rates == (0.8,) * 5


@pytest.mark.parametrize(("note", "sizes"), [("longest option", [1, 2, 3, 9]), ("shortest option", [9, 8, 7, 1])])
def test_the_right_option_may_be_told_by_its_length(note: str, sizes: list[float]) -> None:
    gold = [0, 1, 2, 3]
    lengths = [[sizes[(place - label + 3) % 4] for place in range(4)] for label in gold]
    lengths[0] = lengths[0][::-1]  # one in four goes the other way
    found = choice_chance([4] * 4, gold, lengths)
    assert found.note == note
    assert found.rates == (0.75,) * 4


def test_options_of_equal_length_share_an_item() -> None:
    lengths = [[7, 7, 1], [7, 7, 7], [1, 1, 7]]
    found = choice_chance([3] * 3, [0, 1, 2], lengths)
    assert found.note == "longest option"
    assert found.rates[0] == pytest.approx((1 / 2 + 1 / 3 + 1) / 3)


def test_a_tie_names_the_guess() -> None:
    assert choice_chance([3] * 3, [0, 1, 2], [[1, 1, 1]] * 3).note == "1/k"


def test_each_of_several_right_options_counts() -> None:
    found = choice_chance([4, 4], [[0, 1, 2], 3], [[1, 1, 1, 1]] * 2)
    assert (found.note, found.rates) == ("1/k", (0.75, 0.25))
    found = choice_chance([4] * 3, [[0, 3], [3], (1, 3)], [[1, 1, 1, 1]] * 3)
    assert (found.note, found.rates) == ("majority label", (1.0,) * 3)
    found = choice_chance([4] * 2, [[0, 1], [2, 3]], [[5, 5, 1, 5], [1, 1, 5, 5]])
    assert found.note == "longest option"
    assert found.rates[0] == pytest.approx((2 / 3 + 1) / 2)


@pytest.mark.parametrize(
    ("n_options", "gold", "lengths"),
    [
        ([], [], []),
        ([2], [2], [[1, 1]]),
        ([2], [-1], [[1, 1]]),
        ([2], [[0, 2]], [[1, 1]]),
        ([2], [0], [[1, 1, 1]]),
        ([2, 2], [0], [[1, 1], [1, 1]]),
    ],
)
def test_what_does_not_fit_together_is_refused(
    n_options: list[int], gold: list[int | list[int]], lengths: list[list[float]]
) -> None:
    with pytest.raises(ValueError, match=r"items|options|argument"):
        choice_chance(n_options, gold, lengths)


# Free answers -------------------------------------------------------------------------------------------------


def floor(references: list[list[str]], answers: list[str]) -> tuple[str, float]:
    found = generative_floor(references, answers, lambda text, item: float(text in references[item]))
    assert len(found.rates) == len(references)
    assert len(set(found.rates)) == 1
    return found.note, found.rates[0]


def test_a_lucky_hit_is_always_allowed_for() -> None:
    assert floor([["red"], ["blue"], ["green"], ["grey"]], ["x", "y", "z", "w"]) == ("1/n", 0.25)


def test_one_answer_may_fit_several_items() -> None:
    references = [["red"], ["crimson", "red"], ["blue"], ["Red", "red"]]
    assert floor(references, ["a", "b", "c", "d"]) == ("best constant answer", 0.75)


def test_the_models_own_words_are_constants_too() -> None:
    def overlap(text: str, item: int) -> float:
        return 0.5 if text == "the" else float(text == str(item))

    found = generative_floor(["0", "1", "2", "3"], ["the", "x", "y", "z"], overlap)
    assert found.note == "best constant answer"
    assert found.rates == (0.5,) * 4


def test_shuffling_is_the_mean_over_other_items() -> None:
    # Every answer is worth 0.9 anywhere but on its own item: on the others it gets more than as a constant.
    answers = ["a", "b", "c"]
    found = generative_floor(
        ["x", "y", "z"], answers, lambda text, item: 0.9 * (text in set(answers) - {answers[item]})
    )
    assert found.note == "shuffled references"
    assert found.rates[0] == pytest.approx(fmean([0.9] * 6))


def test_a_single_reference_may_be_a_plain_string() -> None:
    found = generative_floor(["ab", "cd"], [], lambda text, item: float(text == ["ab", "cd"][item]))
    assert found.rates == (0.5, 0.5)  # not the letters


@pytest.mark.parametrize(("references", "answers"), [([], []), (["a"], ["a", "b"])])
def test_answers_without_items_are_refused(references: list[str], answers: list[str]) -> None:
    with pytest.raises(ValueError, match="answers"):
        generative_floor(references, answers, lambda text, item: 0.0)
