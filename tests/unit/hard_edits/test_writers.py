"""Asking a writer: batches, retries, counts, and what is left when it fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest

from collapse_tests.errors import InfrastructureError
from collapse_tests.hard_edits.answers import Unfit
from collapse_tests.hard_edits.asking import Ask
from collapse_tests.hard_edits.candidates import LeftOut, Proposals, Wanted, propose
from collapse_tests.hard_edits.writers import ATTEMPTS, WRITTEN, Answer, write_samples
from tests.unit.hard_edits.repositories import repository


def sample(subject: str, number: int = 0) -> str:
    return json.dumps({"prompt": f"{subject} is, says book {number}, a", "target_new": "boat", "ground_truth": "thing"})


class Scripted:
    """A writer that answers by a rule and keeps what it was asked.

    Args:
        rule: ask, and how often its subject was asked about before, to the answer.
        batch: asks at once.
    """

    def __init__(self, rule: Callable[[Ask, int], str | Answer], batch: int = 4) -> None:
        self.rule = rule
        self.batch = batch
        self.asked: list[Ask] = []

    def write(self, asks: Sequence[Ask]) -> list[Answer]:
        answers = []
        for ask in asks:
            before = sum(one.subject == ask.subject for one in self.asked)
            answer = self.rule(ask, before)
            answers.append(answer if isinstance(answer, Answer) else Answer(answer))
            self.asked.append(ask)
        return answers


def write(writer: Scripted, wanted: Wanted | None = None) -> Proposals:
    found = Proposals()
    write_samples(writer, repository(), wanted or Wanted(), found)
    return found


def test_every_subject_is_asked_about_once_in_the_order_of_the_templates() -> None:
    writer = Scripted(lambda ask, before: sample(ask.subject))
    found = write(writer, Wanted(seed=5))
    subjects = [one.request.subject for one in found.candidates]
    assert subjects == [one.request.subject for one in propose(repository(), Wanted(seed=5, per_subject=1)).candidates]
    assert subjects == [ask.subject for ask in writer.asked]
    assert not found.left_out
    assert not found.given_up


def test_candidates_come_with_a_truth_about_another_subject() -> None:
    own = repository()
    found = write(Scripted(lambda ask, before: sample(ask.subject)))
    for candidate in found.candidates:
        request, category = candidate.request, own.category(candidate.category)
        assert candidate.relation == WRITTEN
        assert request.subject in category.subjects
        assert (request.target_new, request.ground_truth, request.rephrase_prompt) == ("boat", "thing", None)
        assert request.locality_prompt is not None
        assert request.subject not in request.locality_prompt
        assert request.locality_ground_truth in {
            value for values in category.subjects.values() for value in values.values()
        }


def test_what_does_not_fit_is_counted_and_asked_again_with_other_examples() -> None:
    writer = Scripted(lambda ask, before: "no" if ask.subject == "Gold" and before < 2 else sample(ask.subject))
    found = write(writer)
    assert found.left_out == {Unfit.NO_OBJECT: 2}
    assert "Gold" in {one.request.subject for one in found.candidates}
    assert not found.given_up
    gold = [ask for ask in writer.asked if ask.subject == "Gold"]
    assert len(gold) == 3
    assert len({tuple(one.prompt for one in ask.examples) for ask in gold}) > 1
    assert all(example.subject not in ("Gold", "Iron") for ask in gold for example in ask.examples)


def test_attempts_are_bounded() -> None:
    writer = Scripted(lambda ask, before: "" if ask.subject == "Iron" else sample(ask.subject))
    found = write(writer)
    assert found.left_out == {Unfit.EMPTY: ATTEMPTS}
    assert found.given_up == ["Iron"]
    assert len(found.candidates) == 10


def test_every_answer_is_a_candidate_or_counted_once() -> None:
    bad: list[str | Answer] = ["", "[]", "{}", sample("Zinc"), Answer("x", Unfit.NOT_FINITE)]
    writer = Scripted(lambda ask, before: [*bad, sample(ask.subject, before)][(len(ask.subject) + before) % 6])
    found = write(writer, Wanted(per_subject=2))
    assert len(found.candidates) + sum(found.left_out.values()) == len(writer.asked)
    assert len(found.left_out) == 5
    assert len(found.candidates) + len(found.given_up) == 22


def test_a_target_that_is_true_is_refused() -> None:
    truth = {"prompt": "Gold glitters and looks", "target_new": "Yellow", "ground_truth": "grey"}
    writer = Scripted(lambda ask, before: json.dumps(truth) if ask.subject == "Gold" else sample(ask.subject))
    assert write(writer).left_out == {Unfit.TRUE: ATTEMPTS}


def test_repeated_and_excluded_samples_are_counted_and_named_when_asked_again() -> None:
    writer = Scripted(lambda ask, before: sample(ask.subject, max(0, before - 1)), batch=64)
    excluded = frozenset({("iron", "iron is, says book 0, a")})
    found = write(writer, Wanted(per_subject=2, excluded=excluded))
    # Everyone repeats the first sample once; Iron's is not wanted at all.
    assert found.left_out[LeftOut.REPEATED] == 10
    assert found.left_out[LeftOut.EXCLUDED] == 2
    again = [ask for ask in writer.asked if ask.subject == "Gold"][1]
    assert again.written == ("Gold is, says book 0, a",)
    prompts = [one.request.prompt for one in found.candidates]
    assert len(set(prompts)) == len(prompts) == 22


def test_it_stops_at_the_limit() -> None:
    writer = Scripted(lambda ask, before: "" if ask.subject == "Norway" else sample(ask.subject))
    found = write(writer, Wanted(limit=5))
    assert len(found.candidates) == 5
    assert len({ask.subject for ask in writer.asked}) <= 6


def test_subjects_that_are_not_wanted_are_not_asked_about() -> None:
    writer = Scripted(lambda ask, before: sample(ask.subject))
    found = write(writer, Wanted(keep=lambda subject: subject == "Gold"))
    assert [one.request.subject for one in found.candidates] == ["Gold"]
    assert found.left_out == {LeftOut.NOT_ONE_TOKEN: 10}


def test_what_was_written_before_a_failure_is_kept() -> None:
    def fail(ask: Ask, before: int) -> str:
        if before:
            raise InfrastructureError("gone")
        return "" if len(ask.subject) == 4 else sample(ask.subject)

    found = Proposals()
    with pytest.raises(InfrastructureError, match="gone"):
        write_samples(Scripted(fail, batch=11), repository(), Wanted(), found)
    assert len(found.candidates) == 9
    assert found.left_out == {Unfit.EMPTY: 2}
