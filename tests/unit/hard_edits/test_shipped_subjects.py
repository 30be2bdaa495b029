"""The shipped subject repository."""

from __future__ import annotations

from collapse_tests.datasets.requests import load_requests
from collapse_tests.hard_edits.candidates import propose, request_key
from collapse_tests.hard_edits.subject_files import load_subjects


def test_it_is_as_large_and_as_plain_as_promised() -> None:
    repository = load_subjects()
    subjects = [subject for category in repository.categories for subject in category.subjects]
    assert len(subjects) >= 380
    assert len(repository.categories) >= 12
    assert len(repository.facts()) >= 1000
    assert [subject for subject in subjects if not subject.isalpha()] == []
    for category in repository.categories:
        assert [name for name in category.relations if len(category.values(name)) < 4] == []
        assert [subject for subject, values in category.subjects.items() if len(values) < 2] == []
        assert all(relation.prompt.startswith("{}") for relation in category.relations.values())


def test_no_request_of_the_other_sets_is_proposed_again() -> None:
    shipped = {request_key(named.request) for name in ("hard", "normal") for named in load_requests(name)}
    candidates = propose(load_subjects()).candidates
    assert [one.request.prompt for one in candidates if request_key(one.request) in shipped] == []


def test_nearly_every_fact_gives_a_complete_request() -> None:
    repository = load_subjects()
    found = propose(repository)
    assert len(found.candidates) >= 0.98 * len(repository.facts())
    assert [one.request.prompt for one in found.candidates if one.request.locality_prompt is None] == []


def test_the_draws_of_a_relation_differ() -> None:
    repository = load_subjects()
    targets: dict[tuple[str, str], list[str]] = {}
    for one in propose(repository).candidates:
        targets.setdefault((one.category, one.relation), []).append(one.request.target_new)
    for (category, relation), drawn in targets.items():
        values = len(repository.category(category).values(relation))
        assert len(set(drawn)) > min(len(drawn), values) / 3, (category, relation)
