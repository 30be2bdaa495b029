"""Training, validation and test requests are different ones."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collapse_tests.datasets.requests import load_requests
from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.mend.requests import (
    Split,
    check_disjoint,
    data_digest,
    split_requests,
    text_digests,
    without_duplicates,
)
from collapse_tests.editors.mend.training_requests import generated_requests, read_relations
from collapse_tests.errors import UsageError
from tests.unit.editors.mend.tiny import training_requests

SHIPPED = [named.request for source in ("hard", "normal") for named in load_requests(source)]


def texts(requests: tuple[EditRequest, ...] | list[EditRequest]) -> set[str]:
    found = {request.prompt for request in requests}
    return {text.casefold() for text in found | {request.rephrase_prompt or "" for request in requests}}


def test_generated_requests_have_nothing_in_common_with_the_shipped_ones() -> None:
    generated = generated_requests()
    assert len(generated) > 1000
    assert not texts(generated) & texts(SHIPPED)
    assert not texts(generated) & {request.locality_prompt.casefold() for request in SHIPPED if request.locality_prompt}
    subjects = {request.subject.casefold().removeprefix("the ") for request in SHIPPED}
    assert not {request.subject.casefold().removeprefix("the ") for request in generated} & subjects
    check_disjoint(generated, SHIPPED, "shipped")


def test_generated_requests_are_complete_and_well_formed() -> None:
    kinds = {frozenset(relation.answers.values()) for relation in read_relations()}
    for request in generated_requests():
        assert request.prompt.count(request.subject) == 1
        assert request.rephrase_prompt is not None
        assert request.subject in request.rephrase_prompt
        assert request.rephrase_prompt != request.prompt
        assert request.target_new != request.ground_truth
        assert any({request.target_new, request.ground_truth} <= kind for kind in kinds)
        assert request.locality_prompt is not None
        assert request.locality_ground_truth
        assert request.subject not in request.locality_prompt.split()


def test_generated_requests_follow_the_seed() -> None:
    assert generated_requests(3) == generated_requests(3)
    assert generated_requests(3) != generated_requests(4)
    assert without_duplicates(generated_requests())[1] == 0


def test_a_split_shares_no_subject_and_no_text() -> None:
    split, dropped = split_requests(generated_requests(), 50, seed=0)
    assert dropped == 0
    assert 50 <= len(split.validation) < 60
    assert not {one.subject for one in split.training} & {one.subject for one in split.validation}
    assert not texts(list(split.training)) & texts(list(split.validation))
    assert len(split.training) + len(split.validation) == len(generated_requests())


def test_requests_with_a_text_of_the_other_side_are_dropped_and_counted() -> None:
    requests = training_requests(6)
    twin = replace(requests[0], subject="The city", rephrase_prompt="Another text")  # same prompt, another subject
    for seed in range(8):
        split, dropped = split_requests([*requests, twin], 2, seed)
        sides = [twin in split.validation, requests[0] in split.validation]
        assert dropped == (1 if sides[0] != sides[1] else 0)
        check_disjoint(split.training, split.validation, "validation")


def test_an_overlap_is_refused_naming_the_first() -> None:
    requests = training_requests(5)
    with pytest.raises(UsageError, match=r"test request .*The city of X3 is.* shares its prompt"):
        check_disjoint(requests, [replace(requests[3], rephrase_prompt=None), requests[4]], "test")


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "the  CITY of x1 is", "rephrase_prompt": None},
        {"prompt": "You play in X1 and", "rephrase_prompt": None},
        {"prompt": "Something about X1", "rephrase_prompt": "The city of X1 is"},
    ],
)
def test_the_same_text_is_found_in_other_case_spacing_or_place(other: dict[str, str | None]) -> None:
    request = training_requests(2)[1]
    assert text_digests(request) & text_digests(replace(request, **other))  # type: ignore[arg-type]


def test_another_text_is_not() -> None:
    first, second = training_requests(2)
    assert not text_digests(first) & text_digests(second)


def test_too_few_requests_are_refused() -> None:
    with pytest.raises(UsageError, match=r"mend\.validation_requests=9: of 5 training requests none is left to train"):
        split_requests(training_requests(5), 9, 0)


def test_duplicates_are_counted_once() -> None:
    requests = training_requests(3)
    kept, dropped = without_duplicates([*requests, requests[1], replace(requests[1], target_new="Paris")])
    assert kept == [*requests, replace(requests[1], target_new="Paris")]
    assert dropped == 1


def test_the_digest_of_a_split_is_of_all_of_it() -> None:
    requests = training_requests(4)
    whole = Split(tuple(requests[:3]), tuple(requests[3:]))
    other = Split((*requests[:2], replace(requests[2], locality_prompt="Other")), tuple(requests[3:]))
    assert data_digest(whole) == data_digest(Split(tuple(requests[:3]), tuple(requests[3:])))
    assert data_digest(whole) != data_digest(other)
