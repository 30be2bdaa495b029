"""Counts per corpus, the draw, and nested sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collapse_tests.datasets.sentences.corpora import STUDY
from collapse_tests.datasets.sentences.sampling import Reservoir, apportion, identity, in_layers

STUDY_COUNTS = {corpus.name: corpus.count for corpus in STUDY}

weights = st.dictionaries(st.text(max_size=3), st.integers(0, 10_000), min_size=1, max_size=8).filter(
    lambda given: any(given.values())
)


def draw(sentences: Iterable[str], size: int, seed: int = 0, corpus: str = "x") -> list[str]:
    reservoir = Reservoir(size, seed, corpus)
    for sentence in sentences:
        key = identity(sentence)
        number = reservoir.number(key)
        if key not in reservoir and reservoir.wants(number):
            reservoir.add(number, key, sentence)
        assert len(reservoir) <= size
    return list(reservoir.drawn().values())


def test_the_study_s_counts() -> None:
    assert apportion(10_000, STUDY_COUNTS) == STUDY_COUNTS
    assert list(apportion(1000, STUDY_COUNTS).values()) == [5, 250, 70, 25, 500, 50, 100]
    assert list(apportion(50, STUDY_COUNTS).values()) == [1, 12, 3, 1, 25, 3, 5]


def test_with_fewer_seats_than_corpora_the_largest_have_them() -> None:
    assert apportion(2, {"a": 1, "b": 5, "c": 4}) == {"a": 0, "b": 1, "c": 1}


@settings(max_examples=100, deadline=None, database=None)
@given(weights=weights, size=st.integers(0, 20_000))
def test_counts_are_in_proportion(weights: dict[str, int], size: int) -> None:
    counts = apportion(size, weights)
    present = [name for name, weight in weights.items() if weight]
    assert counts.keys() == weights.keys()
    assert sum(counts.values()) == size
    assert all(counts[name] == 0 for name in weights if name not in present)
    if size >= len(present):
        assert all(counts[name] >= 1 for name in present)
    for name in present:
        quota = size * weights[name] / sum(weights.values())
        assert counts[name] <= max(quota + 1, 1)
        if size <= sum(weights.values()):
            assert counts[name] <= weights[name]
    for smaller, larger in permutations(present, 2):
        assert weights[smaller] >= weights[larger] or counts[smaller] <= counts[larger]


def test_a_draw_is_of_distinct_sentences() -> None:
    assert draw(["A  b", "a b", "AB", "c"], 10) == draw(["c", "A  b", "ab"], 10)
    assert len(draw(["one"] * 1000 + ["two"], 2)) == 2


@settings(max_examples=100, deadline=None, database=None)
@given(
    sentences=st.lists(st.text(alphabet="abc", max_size=3)),
    size=st.integers(1, 12),
    seed=st.integers(0, 5),
    order=st.randoms(use_true_random=False),
)
def test_a_draw_does_not_depend_on_the_order(sentences: list[str], size: int, seed: int, order: object) -> None:
    mixed = list(sentences)
    getattr(order, "shuffle")(mixed)  # noqa: B009 - Hypothesis's type is not public
    assert draw(sentences, size, seed) == draw(mixed, size, seed)
    assert len(draw(sentences, size, seed)) == min(size, len(set(sentences)))


@settings(max_examples=100, deadline=None, database=None)
@given(size=st.integers(1, 30), larger=st.integers(0, 30))
def test_a_smaller_draw_is_the_beginning_of_a_larger(size: int, larger: int) -> None:
    sentences = [f"sentence {number}" for number in range(50)]
    assert draw(sentences, size + larger)[:size] == draw(sentences, size)


def test_draws_are_uniform_and_differ_by_seed_and_corpus() -> None:
    sentences = [f"sentence {number}" for number in range(20)]
    drawn = Counter(one for seed in range(2000) for one in draw(sentences, 5, seed))
    assert len(drawn) == 20
    # 500 expected; the standard deviation is 19.
    assert all(400 < count < 600 for count in drawn.values())
    assert draw(sentences, 5, corpus="y") != draw(sentences, 5, corpus="x")


samples = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.integers(0, 40), min_size=1).filter(
    lambda counts: any(counts.values())
)


@settings(max_examples=100, deadline=None, database=None)
@given(counts=samples, sizes=st.lists(st.integers(1, 60), max_size=4).map(lambda some: sorted(some, reverse=True)))
def test_sets_are_nested(counts: dict[str, int], sizes: Sequence[int]) -> None:
    sample = {name: [f"{name}{number}" for number in range(count)] for name, count in counts.items()}
    layers = in_layers(sample, sizes, seed=3)
    assert layers == in_layers(sample, sizes, seed=3)
    total = sum(counts.values())
    assert [len(layer) for layer in layers] == [total, *(min(size, total) for size in sizes)]
    assert Counter(layers[0]) == Counter((name, one) for name, some in sample.items() for one in some)
    for larger, smaller in pairwise(layers):
        assert larger[: len(smaller)] == smaller
        taken = Counter(name for name, _ in smaller)
        for name, sentences in sample.items():
            assert {one for corpus, one in smaller if corpus == name} == set(sentences[: taken[name]])


@pytest.mark.parametrize("size", [1000, 50])
def test_subsets_have_the_study_s_proportions(size: int) -> None:
    sample = {name: [f"{name}{number}" for number in range(count)] for name, count in STUDY_COUNTS.items()}
    (_, subset) = in_layers(sample, [size], seed=0)
    assert Counter(name for name, _ in subset) == apportion(size, STUDY_COUNTS)


def test_a_set_mixes_its_corpora() -> None:
    rows = in_layers({"a": list("abcdefghij"), "b": list("ABCDEFGHIJ")}, [], seed=0)[0]
    first = [name for name, _ in rows[:10]]
    assert 0 < first.count("a") < 10
