"""Corpora to sets, with every sentence accounted for."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from collapse_tests.datasets.sentences.building import Built, Plan, build
from collapse_tests.datasets.sentences.corpora import Corpus
from collapse_tests.datasets.sentences.filters import Rejection
from collapse_tests.errors import UsageError

NUMBERS = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve"]


def sentence(subject: str, number: int) -> str:
    tens, ones = divmod(number, 10)
    return f"The {subject} came back with {NUMBERS[ones]} boxes and {NUMBERS[tens]} bags from the old market"


def corpus(folder: Path, name: str, documents: list[str]) -> Corpus:
    path = folder / f"{name}.jsonl"
    lines = [json.dumps({"text": one.rstrip(". ") + "."}) for one in documents]
    path.write_text("\n".join(lines), encoding="utf-8")
    return Corpus(name, str(path))


def plan(*corpora: Corpus, size: int, subsets: tuple[int, ...] = (), seed: int = 0, allow_fewer: bool = False) -> Plan:
    shares = {one.name: 1 for one in corpora}
    return Plan(corpora, shares, size, subsets, seed, hub_bytes=1, allow_fewer=allow_fewer)


def built(plan: Plan) -> Built:
    return build(plan, lambda *_: None)


def test_every_sentence_is_accounted_for(tmp_path: Path) -> None:
    forty = [sentence("farmer", number) for number in range(40)]
    documents = [". ".join(forty[first : first + 5]) for first in range(0, 40, 5)]
    documents += [
        "Too short. The farmer\u2019s \u00e9tudes went on for many more hours than anyone had ever thought it would.",
        "De boer kwam terug met twee dozen en drie zakken van de oude markt in het dorp.",
        sentence("FARMER", 3),
    ]
    found = built(plan(corpus(tmp_path, "a", documents), size=30))
    tally = found.tallies["a"]
    assert (tally.documents, tally.sentences) == (11, 44)
    assert tally.rejected[Rejection.SHORT] == tally.rejected[Rejection.FOREIGN] == 1
    assert tally.sampled == tally.wanted == len(found.sets[30]) == 30
    assert sum(tally.rejected.values()) + tally.repeated + tally.not_drawn + tally.sampled == tally.sentences


def test_another_language_is_left_out(tmp_path: Path) -> None:
    documents = [
        sentence("farmer", 1),
        "De boer kwam terug met twee dozen en drie zakken van de oude markt in het dorp.",
    ]
    found = built(plan(corpus(tmp_path, "a", documents), size=2, allow_fewer=True))
    assert [row.text for row in found.sets[2]] == [sentence("farmer", 1)]
    assert found.tallies["a"].rejected == {Rejection.LANGUAGE: 1}


def test_a_sentence_is_in_one_corpus_alone(tmp_path: Path) -> None:
    shared = [sentence("farmer", number) for number in range(10)]
    own = [sentence("baker", number) for number in range(10)]
    found = built(plan(corpus(tmp_path, "a", shared), corpus(tmp_path, "b", [*map(str.upper, shared), *own]), size=20))
    assert Counter(row.corpus for row in found.sets[20]) == {"a": 10, "b": 10}
    assert {row.text for row in found.sets[20] if row.corpus == "b"} == set(own)
    assert found.tallies["b"].repeated == 10


def test_sets_depend_on_the_seed_and_not_on_the_order_of_the_text(tmp_path: Path) -> None:
    texts = [sentence("farmer", number) for number in range(60)]
    first = plan(corpus(tmp_path, "a", texts), size=20, subsets=(5,))
    sets = built(first).sets
    assert sets == built(first).sets
    assert sets[20][:5] == sets[5]
    corpus(tmp_path, "a", texts[::-1])
    assert sets == built(first).sets
    assert sets != built(plan(corpus(tmp_path, "a", texts), size=20, subsets=(5,), seed=1)).sets


def test_a_corpus_with_too_few_is_named_with_what_it_has(tmp_path: Path) -> None:
    small = corpus(tmp_path, "small", [sentence("farmer", number) for number in range(3)])
    large = corpus(tmp_path, "large", [sentence("baker", number) for number in range(50)])
    with pytest.raises(UsageError, match=r"too few.*small=.* has 3 usable sentences of 10 wanted.*--allow-fewer"):
        built(plan(small, large, size=20))
    found = built(plan(small, large, size=20, subsets=(16, 4), allow_fewer=True))
    assert [len(rows) for rows in found.sets.values()] == [13, 13, 4]
    assert Counter(row.corpus for row in found.sets[4]) == {"small": 1, "large": 3}


def test_corpora_without_a_usable_sentence_make_no_set(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no corpus has a usable sentence"):
        built(plan(corpus(tmp_path, "a", ["Too short."]), size=2, allow_fewer=True))


def test_all_corpora_are_checked_before_one_is_read(tmp_path: Path) -> None:
    good = corpus(tmp_path, "good", [sentence("farmer", number) for number in range(20)])
    bad = Corpus("bad", str(tmp_path / "bad.txt"))
    Path(bad.source).write_bytes(b"\xff")
    stages: list[str] = []
    with pytest.raises(UsageError, match=r"corpus 'bad'.*is not UTF-8"):
        build(plan(good, bad, size=4), lambda what, _, __: stages.append(what))
    assert not [what for what in stages if what.startswith("reading")]
