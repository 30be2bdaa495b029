"""The shipped set of requests that were made to collapse the default model."""

from __future__ import annotations

import json
import math

from collapse_tests.datasets.reading import read_shipped
from collapse_tests.datasets.requests import load_requests, screen_requests
from collapse_tests.plain_data import number
from collapse_tests.settings import DEFAULT_PPL_LIMIT

NAME = "hardedit-smollm2"


def test_each_begins_with_a_single_word_and_says_something_wrong() -> None:
    requests = [named.request for named in load_requests(NAME)]
    assert len(requests) >= 469  # as many as the study's set has
    for request in requests:
        assert request.prefix == "", request
        assert request.subject.split() == [request.subject], request
        assert request.target_new != request.ground_truth, request
        assert request.rephrase_prompt is not None, request
        assert request.subject in request.rephrase_prompt, request


def test_it_is_varied_and_repeats_nothing() -> None:
    screened = screen_requests(NAME)
    assert not screened.broken
    assert not screened.duplicates
    assert not screened.conflicting
    assert len({named.request.subject for named in screened.requests}) > 150


def test_each_was_measured_to_collapse_the_model() -> None:
    records = [json.loads(line) for line in read_shipped("hardedit_smollm2.jsonl").splitlines()]
    for record in records:
        perplexity = number(record["rome_smollm2-135m_ppl"])
        assert math.isnan(perplexity) or perplexity >= DEFAULT_PPL_LIMIT, record
