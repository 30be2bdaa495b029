from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from collapse_tests.errors import ErrorKind, UsageError
from collapse_tests.records import SCHEMA_VERSION, EditQuality, Perplexity, Record, Verdict

FULL = Record(
    case_id="smollm2-135m-rome-hard:0003",
    model="smollm2-135m",
    editor="rome",
    edit_id="hard:0003",
    request={"prompt": "Salt is a", "subject": "Salt", "target_new": "bird", "ground_truth": None},
    verdict=Verdict.COLLAPSED,
    reasons=("ME-PPL is not finite", "second"),
    unedited=Perplexity(me_ppl=167.27, corpus_ppl=94.06, sentences=50, tokens=1100),
    edited=Perplexity(me_ppl=math.inf, corpus_ppl=1e30, sentences=50, tokens=1100),
    quality=EditQuality(
        success=True,
        greedy_match=False,
        generalisation=None,
        locality=False,
        target_probability=0.25,
        target_probability_before=0.125,
        ground_truth_probability=None,
    ),
    diagnostics={"denominator": -math.inf, "steps": 20.0},
    continuation_before=" mineral",
    continuation_after=" bird\n\x1b[31m bird",
    ppl_limit=1000.0,
    seconds={"edit": 1.5, "perplexity": 0.25},
    model_digest="sha256:0",
    seed=7,
    worker="gw1",
)
BARE = Record(
    case_id="m-e-1", model="m", editor="e", edit_id="1", request={}, verdict=Verdict.ERROR, ppl_limit=1.0, error="no"
)


def through_json(record: Record) -> Record:
    return Record.from_dict(json.loads(json.dumps(record.to_dict(), allow_nan=False)))


@pytest.mark.parametrize("record", [FULL, BARE], ids=["full", "bare"])
def test_record_survives_strict_json(record: Record) -> None:
    assert through_json(record) == record


def test_nan_survives_strict_json_in_every_numeric_place() -> None:
    nan = math.nan
    record = replace(
        FULL,
        edited=Perplexity(nan, nan, 50, 1100),
        quality=EditQuality(True, True, True, True, nan, nan, nan),
        diagnostics={"denominator": nan},
        seconds={"edit": nan},
        ppl_limit=nan,
    )

    back = through_json(record)

    assert back.edited is not None
    assert back.quality is not None
    numbers = [
        back.edited.me_ppl,
        back.edited.corpus_ppl,
        back.quality.target_probability,
        back.quality.target_probability_before,
        back.quality.ground_truth_probability,
        back.diagnostics["denominator"],
        back.seconds["edit"],
        back.ppl_limit,
    ]
    assert all(isinstance(number, float) and math.isnan(number) for number in numbers)


@pytest.mark.parametrize(("value", "spelling"), [(math.inf, "inf"), (-math.inf, "-inf"), (math.nan, "nan")])
def test_non_finite_numbers_are_spelt_as_words(value: float, spelling: str) -> None:
    assert replace(FULL, ppl_limit=value).to_dict()["ppl_limit"] == spelling


@pytest.mark.parametrize("text", ["inf", "nan", "-inf", "[bold]", "\ud800", "\u2028", "naïve 東京"])
def test_text_stays_text(text: str) -> None:
    record = replace(FULL, request={"prompt": text}, error=text, continuation_after=text, edit_id=text)

    assert through_json(record) == record


@pytest.mark.parametrize("verdict", Verdict)
def test_verdict_survives_as_its_own_type(verdict: Verdict) -> None:
    assert through_json(replace(FULL, verdict=verdict)).verdict is verdict


@pytest.mark.parametrize("kind", [None, *ErrorKind])
def test_whose_fault_an_error_is_survives(kind: ErrorKind | None) -> None:
    assert through_json(replace(BARE, error_kind=kind)).error_kind is kind


def test_a_record_of_before_faults_were_told_apart_is_read() -> None:
    data = BARE.to_dict()
    del data["error_kind"]

    assert Record.from_dict(data) == BARE


@pytest.mark.parametrize("schema", [SCHEMA_VERSION + 1, None, "1"])
def test_record_of_another_schema_is_refused_with_a_remedy(schema: Any) -> None:
    data = {**FULL.to_dict(), "schema": schema}

    with pytest.raises(UsageError, match="schema") as caught:
        Record.from_dict(data)

    assert repr(schema) in str(caught.value)
    assert "run the gate again" in str(caught.value)
