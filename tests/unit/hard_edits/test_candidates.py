"""Facts to candidates: what the targets are, in which order, and what is left out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from collapse_tests.datasets.requests import load_requests
from collapse_tests.datasets.writing import check_out
from collapse_tests.edit_request import EditRequest
from collapse_tests.errors import InfrastructureError, UsageError
from collapse_tests.hard_edits.candidate_files import excluded_keys, write_candidates
from collapse_tests.hard_edits.candidates import Candidate, LeftOut, Proposals, Wanted, propose, request_key
from collapse_tests.hard_edits.subject_files import parse_subjects
from collapse_tests.hard_edits.subjects import SubjectRepository
from tests.unit.hard_edits.repositories import SMALL, repository

SEEDS = range(12)


def _all(own: SubjectRepository) -> list[Candidate]:
    return [one for seed in SEEDS for one in propose(own, Wanted(seed)).candidates]


def test_a_target_is_a_wrong_value_of_the_same_relation() -> None:
    own = repository()
    for candidate in _all(own):
        request, category = candidate.request, own.category(candidate.category)
        relation = category.relations[candidate.relation]
        truths = {value.casefold() for value in category.subjects[request.subject].values()}
        assert request.prompt == relation.prompt.replace("{}", request.subject)
        assert request.rephrase_prompt == relation.rephrase.replace("{}", request.subject)
        assert request.ground_truth == category.subjects[request.subject][candidate.relation]
        assert request.target_new in category.values(candidate.relation)
        assert request.target_new.casefold() not in truths


def test_a_target_is_true_of_the_subject_in_no_relation_and_is_not_the_subject() -> None:
    text = """
categories:
  - name: words
    relations:
      like: {prompt: "{} is like", rephrase: "Like {} is"}
      unlike: {prompt: "{} is unlike", rephrase: "Unlike {} is"}
    subjects:
      Hot: {like: warm, unlike: cold}
      Cold: {like: hot, unlike: Warm}
      Mild: {like: WARM, unlike: hot}
"""
    for candidate in _all(parse_subjects(text, "words")):
        assert (
            candidate.request.target_new.casefold()
            not in {
                "Hot": {"warm", "cold", "hot"},
                "Cold": {"hot", "warm", "cold"},
                "Mild": {"warm", "hot", "mild"},
            }[candidate.request.subject]
        )


def test_the_locality_prompt_is_a_truth_about_another_subject() -> None:
    own = repository()
    for candidate in _all(own):
        request, category = candidate.request, own.category(candidate.category)
        if candidate.category == "days":
            assert request.locality_prompt is None
            continue
        prompt = category.relations[candidate.relation].prompt
        (other,) = (one for one in category.subjects if prompt.replace("{}", one) == request.locality_prompt)
        assert other != request.subject
        assert request.locality_ground_truth == category.subjects[other][candidate.relation]
        assert request.locality_ground_truth not in (request.target_new, request.ground_truth)


@pytest.mark.parametrize("limit", [1, 2, 5, 18, 100])
def test_a_limit_gives_the_beginning_of_the_same_list(limit: int) -> None:
    whole = propose(repository(), Wanted(seed=3)).candidates
    found = propose(repository(), Wanted(seed=3, limit=limit))
    assert found.candidates == whole[:limit]
    assert found.left_out[LeftOut.LIMIT] == max(0, len(whole) - limit)


def test_the_seed_decides() -> None:
    assert propose(repository(), Wanted(1)) == propose(repository(), Wanted(1))
    assert len({tuple(propose(repository(), Wanted(seed)).candidates) for seed in SEEDS}) == len(SEEDS)


def test_every_beginning_is_spread_over_categories_subjects_and_relations() -> None:
    for seed in SEEDS:
        whole = propose(repository(), Wanted(seed)).candidates
        assert len({one.category for one in whole[:3]}) == 3
        assert {Counter(one.category for one in whole[:6])[name] for name in ("countries", "metals", "days")} == {2}
        countries = [one for one in whole if one.category == "countries"]
        assert len({one.request.subject for one in countries[:5]}) == 5
        assert set(Counter(one.relation for one in countries[:4]).values()) == {2}


def test_other_facts_do_not_change_the_draws_of_one() -> None:
    whole = {request_key(one.request): one for one in propose(repository()).candidates}
    wanted = Wanted(keep=lambda subject: subject in {"Gold", "Japan"})
    some = propose(repository(), wanted).candidates
    assert len(some) == 4
    assert [whole[request_key(one.request)] for one in some] == some


def test_per_subject_counts_what_is_kept() -> None:
    excluded = frozenset({("gold", "gold has the symbol")})
    found = propose(repository(), Wanted(per_subject=1, excluded=excluded))
    counts = Counter(one.request.subject for one in found.candidates)
    assert set(counts.values()) == {1}
    assert len(counts) == 11
    (gold,) = (one for one in found.candidates if one.request.subject == "Gold")
    assert gold.relation == "colour"


def test_every_fact_is_a_candidate_or_counted_once() -> None:
    own = parse_subjects(SMALL.replace('"{} has a surface that looks"', '"{} has  the symbol"'), "small")
    excluded = frozenset({("japan", "japan pays its workers in the")})
    wanted = Wanted(limit=4, per_subject=1, excluded=excluded, keep=lambda subject: subject != "Norway")
    found = propose(own, wanted)
    assert len(found.candidates) + sum(found.left_out.values()) == len(own.facts())
    assert found.left_out[LeftOut.NOT_ONE_TOKEN] == 2
    assert found.left_out[LeftOut.EXCLUDED] == 1
    assert found.left_out[LeftOut.REPEATED] == 3


def test_a_fact_without_another_value_is_counted() -> None:
    text = """
categories:
  - name: words
    relations:
      like: {prompt: "{} is like", rephrase: "Like {} is"}
    subjects:
      Hot: {like: warm}
      Warm: {like: hot}
"""
    found = propose(parse_subjects(text, "words"))
    assert found == Proposals([], Counter({LeftOut.NO_TARGET: 2}))


def test_the_file_is_loaded_as_edits(tmp_path: Path) -> None:
    candidates = propose(repository()).candidates
    file = tmp_path / "candidates.jsonl"
    write_candidates(file, candidates)
    assert [named.request for named in load_requests(str(file))] == [one.request for one in candidates]


def test_excluded_files(tmp_path: Path) -> None:
    request = EditRequest("Gold  has the Symbol", "Gold", "X")
    assert request_key(request) == ("gold", "gold has the symbol")
    file = tmp_path / "known.jsonl"
    write_candidates(file, [Candidate(request, "a", "b")])
    assert excluded_keys([str(file)]) == {request_key(request)}
    assert len(excluded_keys(["hard", str(file)])) == len(load_requests("hard")) + 1
    with pytest.raises(UsageError, match=r"^--exclude 'nowhere\.jsonl' is no file"):
        excluded_keys(["nowhere.jsonl"])


def test_places_for_the_file(tmp_path: Path) -> None:
    check_out(tmp_path / "a.jsonl")
    for path, message in (
        (tmp_path, "is a directory"),
        (tmp_path / "a.txt", r"end it in \.jsonl"),
        (tmp_path / "none" / "a.jsonl", "there is no directory"),
    ):
        with pytest.raises(UsageError, match=message):
            check_out(path)
    blocked = tmp_path / "b.jsonl"
    blocked.mkdir()
    with pytest.raises(InfrastructureError, match="cannot write"):
        write_candidates(blocked, [])
