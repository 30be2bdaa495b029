from __future__ import annotations

import math
import sys

import pytest

from collapse_tests.errors import UsageError
from collapse_tests.metrics.perplexity import perplexity, perplexity_rows
from collapse_tests.metrics.rows import RowScore
from tests.unit.tiny import shared_model


def test_it_is_the_mean_of_sentence_perplexities_not_that_of_the_corpus() -> None:
    found = perplexity([RowScore(2 * math.log(4), 2), RowScore(6 * math.log(16), 6)])
    assert found.me_ppl == pytest.approx((4 + 16) / 2)
    assert found.corpus_ppl == pytest.approx(4 ** (2 / 8) * 16 ** (6 / 8))
    assert (found.sentences, found.tokens) == (2, 8)


def test_one_sentence() -> None:
    found = perplexity([RowScore(3.0, 2)])
    assert found.me_ppl == pytest.approx(math.exp(1.5))
    assert found.corpus_ppl == pytest.approx(math.exp(1.5))


@pytest.mark.parametrize("nll", [800.0, 1e308, math.inf])
def test_overflow_saturates(nll: float) -> None:
    found = perplexity([RowScore(nll, 1), RowScore(1.0, 1)])
    assert found.me_ppl == math.inf
    assert found.corpus_ppl == (pytest.approx(math.exp(400.5)) if nll == 800 else math.inf)


def test_the_largest_exponent_is_the_last_finite_one() -> None:
    edge = math.log(sys.float_info.max)
    assert math.isfinite(perplexity([RowScore(edge, 1)]).me_ppl)
    assert perplexity([RowScore(math.nextafter(edge, math.inf), 1)]).me_ppl == math.inf
    assert perplexity([RowScore(edge, 1)] * 3).me_ppl == math.inf  # the sum overflows


@pytest.mark.parametrize("place", [0, 1, 2])
def test_nan_stays_nan_beside_anything(place: int) -> None:
    scores = [RowScore(1.0, 1), RowScore(math.inf, 1)]
    scores.insert(place, RowScore(math.nan, 1))
    found = perplexity(scores)
    assert math.isnan(found.me_ppl)
    assert math.isnan(found.corpus_ppl)


@pytest.mark.parametrize("scores", [[], [RowScore(1.0, 1), RowScore(0.0, 0)]])
def test_nothing_to_score_is_an_error(scores: list[RowScore]) -> None:
    with pytest.raises(ValueError, match="at least one sentence"):
        perplexity(scores)


@pytest.mark.parametrize("start_token", [False, True])
def test_rows_have_no_start_token_and_predict_all_but_the_first(start_token: bool) -> None:
    model = shared_model("llama", start_token=start_token)
    (row,) = perplexity_rows(model, ["The capital of Norway"])
    assert model.decode(row.ids) == "The capital of Norway"
    assert list(row.ids) == model.encode("The capital of Norway", special_tokens=False)
    assert row.first_label == 1


@pytest.mark.parametrize("text", ["", "x", "Norway"])
def test_a_sentence_too_short_to_predict_is_named(text: str) -> None:
    with pytest.raises(UsageError, match=rf"sentence 1 has {len(text) > 0:d} tokens.*{text!r}"):
        perplexity_rows(shared_model("gpt2"), ["The cat and the rain", text])


def test_no_sentences_are_refused() -> None:
    with pytest.raises(UsageError, match="--ppl-texts holds no sentence"):
        perplexity_rows(shared_model("gpt2"), [])


def test_a_sentence_too_long_is_refused() -> None:
    with pytest.raises(UsageError, match="200 tokens is longer than the 128"):
        perplexity_rows(shared_model("gpt2"), ["z" * 200])
