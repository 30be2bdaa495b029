from __future__ import annotations

import math
from dataclasses import replace

import pytest

from collapse_tests.edit_request import EditRequest
from collapse_tests.metrics.edit_quality import QualityRows, edit_quality, quality_rows
from collapse_tests.metrics.rows import RowScore, TokenRow
from tests.unit.tiny import shared_model

BARE = EditRequest("The capital of Norway is", "Norway", "Lima")
FULL = EditRequest(
    prompt="The capital of Norway is",
    subject="Norway",
    target_new="Lima",
    ground_truth="Oslo and rain",
    rephrase_prompt="Norway play the city of",
    locality_prompt="The cheese is",
    locality_ground_truth="a cat",
)
NAN = RowScore(math.nan, 1, (7,), True)


def score(probability: float, *predicted: int, match: bool = False) -> RowScore:
    return RowScore(-math.log(probability) if probability else math.inf, max(1, len(predicted)), predicted, match)


def rows(*names: str) -> QualityRows:
    return QualityRows(names, tuple(TokenRow((1, 2), 1) for _ in names))


# Rows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start_token", [False, True])
def test_rows_hold_a_prompt_and_its_answer(start_token: bool) -> None:
    model = shared_model("llama", start_token=start_token)
    found = quality_rows(model, FULL)
    assert found.names == ("target", "truth", "rephrase_target", "rephrase_truth", "locality")
    texts = [(model.decode(row.ids[: row.first_label]), model.decode(row.ids[row.first_label :])) for row in found.rows]
    assert texts == [
        (FULL.prompt, " Lima"),
        (FULL.prompt, " Oslo and rain"),
        (FULL.rephrase_prompt, " Lima"),
        (FULL.rephrase_prompt, " Oslo and rain"),
        (FULL.locality_prompt, " a cat"),
    ]
    assert all((row.ids[0] == 0) is start_token for row in found.rows)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, ("target",)),
        ({"ground_truth": "Oslo"}, ("target", "truth")),
        ({"rephrase_prompt": "Norway play"}, ("target", "rephrase_target")),
        ({"locality_prompt": "The cheese is"}, ("target", "locality")),
        ({"locality_ground_truth": "a cat"}, ("target",)),
    ],
)
def test_missing_fields_need_no_rows(changes: dict[str, str], names: tuple[str, ...]) -> None:
    assert quality_rows(shared_model("gpt2"), replace(BARE, **changes)).names == names


def test_without_a_known_local_answer_one_token_is_compared() -> None:
    found = quality_rows(shared_model("gpt2"), replace(BARE, locality_prompt="The cheese is"))
    assert len(found.rows[1].ids) - found.rows[1].first_label == 1


# Quality ------------------------------------------------------------------------------------------------------


def test_a_full_request() -> None:
    names = rows("target", "truth", "rephrase_target", "rephrase_truth", "locality")
    before = [score(0.1), score(0.7), score(0.1), score(0.7), score(0.5, 3, 4)]
    after = [score(0.6, 9, match=True), score(0.2), score(0.1), score(0.3), score(0.4, 3, 4)]
    found = edit_quality(names, before, after)
    assert (found.success, found.greedy_match, found.generalisation, found.locality) == (True, True, False, True)
    assert found.target_probability == pytest.approx(0.6)
    assert found.target_probability_before == pytest.approx(0.1)
    assert found.ground_truth_probability == pytest.approx(0.2)


def test_a_bare_request_succeeds_by_greedy_decoding_and_leaves_the_rest_open() -> None:
    for match in (True, False):
        found = edit_quality(rows("target"), [score(0.1)], [score(0.4, 5, match=match)])
        assert found.success is found.greedy_match is match
        assert found.generalisation is found.locality is found.ground_truth_probability is None


def test_a_rephrased_prompt_without_truth_generalises_by_greedy_decoding() -> None:
    for match in (True, False):
        after = [score(0.4), score(0.3, 5, match=match)]
        assert edit_quality(rows("target", "rephrase_target"), [score(0.1)] * 2, after).generalisation is match


def test_success_needs_the_new_answer_to_be_strictly_likelier() -> None:
    names = rows("target", "truth")
    for target, truth, success in ((0.3, 0.3, False), (0.31, 0.3, True), (0.3, 0.31, False), (0.0, 0.0, False)):
        after = [score(target, 5, match=True), score(truth)]
        assert edit_quality(names, [score(0.1)] * 2, after).success is success


def test_locality_compares_greedy_answers_before_and_after() -> None:
    names = rows("target", "locality")
    for ids, local in (((3, 4), True), ((3, 5), False)):
        found = edit_quality(names, [score(0.1), score(0.5, 3, 4)], [score(0.4), score(0.5, *ids)])
        assert found.locality is local


def test_nan_neither_succeeds_nor_generalises_nor_is_local() -> None:
    names = rows("target", "truth", "rephrase_target", "rephrase_truth", "locality")
    found = edit_quality(names, [score(0.5, 7)] * 5, [NAN] * 5)
    assert (found.success, found.greedy_match, found.generalisation, found.locality) == (False,) * 4
    assert math.isnan(found.target_probability)
    assert found.ground_truth_probability is not None
    assert math.isnan(found.ground_truth_probability)
    bare = edit_quality(rows("target", "rephrase_target"), [score(0.5, 7)] * 2, [NAN] * 2)
    assert (bare.success, bare.greedy_match, bare.generalisation) == (False,) * 3


def test_one_number_is_not_likelier_than_nan() -> None:
    for after in ([score(0.9), NAN], [NAN, score(0.1)]):
        assert not edit_quality(rows("target", "truth"), [score(0.1)] * 2, after).success


def test_impossible_answers_have_probability_zero() -> None:
    found = edit_quality(rows("target", "truth"), [score(0.1)] * 2, [score(0), score(0)])
    assert found.target_probability == found.ground_truth_probability == 0
