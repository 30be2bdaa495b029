from __future__ import annotations

import math

from collapse_tests.baseline.requests import request_digest
from collapse_tests.baseline.snapshot import edit_id_of, set_of, snapshot_of
from tests.unit.baseline.cases import COLLAPSED, ERROR, record


def test_groups_are_known_by_the_start_of_their_ids() -> None:
    records = [
        record("f:0", model="/here/tiny", case_id="tiny-rome-f:0"),
        record("f:0", model="/there/tiny", case_id="tiny~2-rome-f:0", model_digest="other"),
        record("f:1", model="/here/tiny", editor="c-rome", case_id="tiny-c-rome-f:1"),
    ]

    found = snapshot_of(records, {}, {"rome": {"steps": 3}})

    assert list(found.groups) == ["tiny-rome", "tiny~2-rome", "tiny-c-rome"]
    assert [group.model for group in found.groups.values()] == ["tiny"] * 3
    assert [group.model_digest for group in found.groups.values()] == ["d1g35t", "other", "d1g35t"]
    assert [group.hyperparameters for group in found.groups.values()] == [{"steps": 3}, {"steps": 3}, {}]
    assert list(found.of_group("tiny-c-rome")) == ["f:1"]


def test_the_digest_comes_from_the_first_case_that_has_one() -> None:
    found = snapshot_of([record("f:0", ERROR, None, model_digest=""), record("f:1")], {})

    assert found.groups["tiny-rome"].model_digest == "d1g35t"


def test_what_was_not_measured_stays_unknown() -> None:
    found = snapshot_of([record("f:0", ERROR, None), record("f:1", COLLAPSED, math.inf)], {}).of_group("tiny-rome")

    assert (found["f:0"].me_ppl, found["f:0"].success) == (None, None)
    assert found["f:1"].me_ppl == math.inf


def test_a_requests_digest_is_of_its_text() -> None:
    request = {"prompt": "Rome is in", "subject": "Rome", "target_new": "Oslo"}

    assert request_digest(request) == request_digest(dict(reversed(request.items())) | {"ground_truth": None})
    assert request_digest(request) != request_digest(request | {"target_new": "Lima"})
    assert request_digest(request) != request_digest(request | {"ground_truth": ""})
    assert len(request_digest({"prompt": "\ud800"})) == 16


def test_parts_of_a_case_id() -> None:
    assert edit_id_of("gpt2-xl-c-rome-my_facts~2:0007") == "my_facts~2:0007"
    assert set_of("gpt2-xl-c-rome-my_facts~2:0007") == set_of("my_facts~2:0007") == "my_facts~2"
