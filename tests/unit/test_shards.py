from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collapse_tests.errors import UsageError
from collapse_tests.shards import WHOLE, Selection, Shard, deal, parse_shard


@settings(deadline=None, database=None, derandomize=True)
@given(count=st.integers(1, 12), items=st.integers(0, 60))
def test_shards_are_a_partition_of_equal_parts(count: int, items: int) -> None:
    everything = list(range(items))
    parts = [list(Shard(index, count).of(everything)) for index in range(1, count + 1)]
    assert sorted(item for part in parts for item in part) == everything
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert all(part == sorted(part) for part in parts)


def test_a_part_of_each_region_goes_to_every_shard() -> None:
    assert list(Shard(2, 3).of("abcdefgh")) == ["b", "e", "h"]


def test_the_whole_is_everything() -> None:
    assert list(WHOLE.of([3, 1, 2])) == [3, 1, 2]
    assert parse_shard("1/1") == WHOLE


@pytest.mark.parametrize("text", ["1/4", "4/4", "17/1000", "1/1"])
def test_what_is_written_is_read(text: str) -> None:
    assert str(parse_shard(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "1", "/", "1/", "/2", "0/2", "3/2", "-1/2", "1/0", "0/0", "1/2/3", "1 / 2", " 1/2", "1/2\n", "a/b", "1.0/2"],
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_shard(text)
    assert str(caught.value) == f"{text!r} is no shard; give i/n with i from 1 to n, such as 1/4"


@pytest.mark.parametrize("text", ["²/3", "١/٢", "1/" + "9" * 5000])
def test_digits_that_python_takes_or_chokes_on_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no shard"):
        parse_shard(text)


# Tests dealt ---------------------------------------------------------------------------------------------------

GROUPS = ("m-ft ", "m-rome ", "m-rome scenario", "")


@settings(deadline=None, database=None, derandomize=True)
@given(
    tests=st.lists(st.tuples(st.sampled_from(GROUPS), st.text(max_size=4)), max_size=40),
    count=st.integers(1, 9),
    seed=st.integers(0, 9),
)
def test_the_deal_is_of_the_set_alone_and_fair(tests: list[tuple[str, str]], count: int, seed: int) -> None:
    dealt = deal(tests, count)

    assert dealt.keys() == set(tests)
    shuffled = [*tests, *tests[:3]]
    random.Random(seed).shuffle(shuffled)
    assert deal(shuffled, count) == dealt
    shards = range(1, count + 1)
    for group in (None, *{group for group, _ in tests}):
        sizes = Counter(shard for test, shard in dealt.items() if group in (None, test[0]))
        assert max(sizes[shard] for shard in shards) - min(sizes[shard] for shard in shards) <= 1
        assert set(sizes) <= set(shards)


def test_neighbours_are_dealt_apart_the_same_way_everywhere() -> None:
    dealt = deal([("m-rome ", f"m-rome-facts:{index:04d}") for index in range(12)], 3)
    assert list(dealt.values()) == [1, 2, 3] * 4
    assert [shard for _, shard in sorted(dealt.items())] == [3, 2, 1, 3, 2, 1, 3, 1, 2, 2, 3, 1]


def test_a_selection_is_told_in_words() -> None:
    assert str(Selection("2/8", 13, 13, 100, 100, "")) == "shard 2/8: 13 of 100 tests"
    assert str(Selection("7/8", 0, 0, 5, 5, "")) == "shard 7/8 has no test, as only 5 were selected"
    assert str(Selection(None, 1200, 1200, 1200, 1200, "")) == "1,200 tests"
