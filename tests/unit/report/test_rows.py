from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from collapse_tests.records import EditQuality, Perplexity, Record, Verdict
from collapse_tests.report.rows import (
    Rate,
    error_cases,
    growth,
    median_perplexity,
    summarise,
    verdict_sentence,
    worst_cases,
    worst_perplexity,
)

MakeRecord = Callable[..., Record]

STABLE, COLLAPSED, INEFFECTIVE, ERROR = (
    Verdict.STABLE,
    Verdict.COLLAPSED,
    Verdict.INEFFECTIVE,
    Verdict.ERROR,
)


def test_no_records_give_no_groups() -> None:
    assert summarise([]) == []


def test_groups_keep_the_order_of_the_run(make_record: MakeRecord) -> None:
    records = [
        make_record("1", STABLE, 210.0, model="b", editor="rome"),
        make_record("1", STABLE, 210.0, model="a", editor="rome"),
        make_record("2", STABLE, 210.0, model="b", editor="rome"),
        make_record("1", STABLE, 210.0, model="b", editor="ft"),
    ]

    groups = [(group.model, group.editor, group.cases) for group in summarise(records)]

    assert groups == [("b", "rome", 2), ("a", "rome", 1), ("b", "ft", 1)]


def test_group_counts_every_verdict(make_record: MakeRecord) -> None:
    verdicts = [STABLE, STABLE, STABLE, COLLAPSED, COLLAPSED, INEFFECTIVE, ERROR]
    records = [make_record(str(n), verdict, 210.0) for n, verdict in enumerate(verdicts)]

    (group,) = summarise(records)

    assert group.cases == 7
    assert group.verdicts == {STABLE: 3, COLLAPSED: 2, INEFFECTIVE: 1, ERROR: 1}


def test_group_measures_leave_errors_out(make_record: MakeRecord) -> None:
    untrusted = make_record("3", STABLE, 9e9, seconds={"edit": 99.0})
    records = [
        make_record("1", COLLAPSED, 5000.0, seconds={"edit": 2.0, "quality": 0.5}),
        make_record("2", STABLE, 300.0, seconds={"edit": 4.0}),
        replace(untrusted, verdict=ERROR),
    ]

    (group,) = summarise(records)

    assert group.unedited_me_ppl == 200.0
    assert (group.median_me_ppl, group.worst_me_ppl) == (2650.0, 5000.0)
    assert (group.success, group.locality) == (Rate(2, 2), Rate(1, 2))
    assert group.seconds == {"edit": 3.0, "quality": 0.25}
    assert group.seconds_per_edit == 3.25


def test_rates_count_only_what_was_measured(make_record: MakeRecord) -> None:
    def quality(success: bool, generalisation: bool | None, locality: bool | None) -> EditQuality:
        return EditQuality(success, success, generalisation, locality, 0.5, 0.1, None)

    records = [
        make_record("1", STABLE, 210.0, quality=quality(True, None, True)),
        make_record("2", INEFFECTIVE, 210.0, quality=quality(False, None, False)),
        make_record("3", STABLE, 210.0, quality=quality(True, False, None)),
        make_record("4", COLLAPSED, 2100.0, quality=None),
    ]

    (group,) = summarise(records)

    assert (group.success, group.generalisation, group.locality) == (Rate(2, 3), Rate(0, 1), Rate(1, 2))


def test_group_of_errors_alone_has_no_measures(make_record: MakeRecord) -> None:
    (group,) = summarise([make_record("1", ERROR, None, unedited=None, seconds={})])

    assert group.verdicts[ERROR] == 1
    assert (group.unedited_me_ppl, group.median_me_ppl, group.worst_me_ppl) == (None, None, None)
    assert (group.success, group.seconds_per_edit) == (Rate(0, 0), None)


@pytest.mark.parametrize(
    ("values", "median", "worst"),
    [
        ([], None, None),
        ([3.0], 3.0, 3.0),
        ([3.0, 1.0], 2.0, 3.0),
        ([1.0, 2.0, math.inf], 2.0, math.inf),
        ([1.0, 2.0, math.nan], 2.0, math.nan),
        ([1.0, math.inf, math.nan], math.inf, math.nan),
        ([1.0, 2.0, math.nan, math.inf], math.inf, math.nan),
        ([1.0, math.nan], math.nan, math.nan),
        ([1e308, 1.5e308], 1.25e308, 1.5e308),
    ],
)
def test_median_and_worst_rank_nan_above_inf_in_any_order(
    values: list[float], median: float | None, worst: float | None
) -> None:
    for order in itertools.permutations(values):
        assert median_perplexity(order) == pytest.approx(median, nan_ok=True)
        assert worst_perplexity(order) == pytest.approx(worst, nan_ok=True)


def test_worst_cases_rank_collapse_then_nan_then_inf_then_size(make_record: MakeRecord) -> None:
    worst_first = [
        make_record("nan", COLLAPSED, math.nan),
        make_record("inf", COLLAPSED, math.inf),
        make_record("big", COLLAPSED, 5e4),
        make_record("task", COLLAPSED, 205.0),
        make_record("unmeasured", COLLAPSED, None),
        make_record("high", STABLE, 999.0),
        make_record("a-low", INEFFECTIVE, 201.0),
        make_record("b-low", STABLE, 201.0),
    ]
    error = make_record("error", ERROR, None)

    for shift in range(len(worst_first)):
        records = [*worst_first[shift:], error, *worst_first[:shift]]
        assert [r.edit_id for r in worst_cases(records)] == [r.edit_id for r in worst_first]
    assert worst_cases([error]) == []


def test_worst_cases_and_errors_stop_at_the_limit(make_record: MakeRecord) -> None:
    stable = [make_record(str(n), STABLE, 200.0 + n) for n in range(15)]
    errors = [make_record(str(n), ERROR, None) for n in range(15)]

    assert [record.edit_id for record in worst_cases(stable, limit=2)] == ["14", "13"]
    assert len(worst_cases(stable)) == 10
    assert len(worst_cases(stable, limit=None)) == 15
    assert [record.edit_id for record in error_cases(stable + errors, limit=2)] == ["0", "1"]


@pytest.mark.parametrize(
    ("before", "after", "factor"),
    [
        (200.0, 500.0, 2.5),
        (200.0, math.inf, math.inf),
        (200.0, math.nan, math.nan),
        (math.inf, math.inf, math.nan),
        (0.0, 1.0, math.inf),
        (None, 1.0, None),
        (200.0, None, None),
    ],
)
def test_growth_is_defined_for_every_pair(
    make_record: MakeRecord, before: float | None, after: float | None, factor: float | None
) -> None:
    unedited = None if before is None else Perplexity(before, before, 50, 1100)

    assert growth(make_record("1", STABLE, after, unedited=unedited)) == pytest.approx(factor, nan_ok=True)


def test_sentence_of_no_records() -> None:
    assert verdict_sentence([]) == "No edits were tested."


def test_sentence_names_model_editor_and_worst_case(make_record: MakeRecord) -> None:
    records = [make_record("hard:0003", COLLAPSED, 66203.4), make_record("normal:0001", STABLE, 210.0)]

    assert verdict_sentence(records) == (
        "1 of 2 edits collapsed smollm2-135m under rome; worst ME-PPL 66,203 at hard:0003."
    )


def test_sentence_of_a_clean_run(make_record: MakeRecord) -> None:
    sentence = verdict_sentence([make_record("normal:0001", STABLE, 210.0)])

    assert sentence == "None of 1 edit collapsed smollm2-135m under rome; worst ME-PPL 210.00 at normal:0001."


def test_sentence_keeps_ineffective_and_errors_apart(make_record: MakeRecord) -> None:
    records = [
        make_record("1", COLLAPSED, math.nan),
        make_record("2", INEFFECTIVE, math.inf),
        make_record("3", ERROR, None),
        make_record("4", ERROR, None),
    ]

    assert verdict_sentence(records) == (
        "1 of 2 edits collapsed smollm2-135m under rome; worst ME-PPL nan at 1; 1 ineffective; "
        "2 more ended in an error."
    )


def test_sentence_of_errors_alone_claims_nothing(make_record: MakeRecord) -> None:
    sentence = verdict_sentence([make_record("1", ERROR, None), make_record("2", ERROR, None)])

    assert sentence == "Nothing was learnt of smollm2-135m under rome: 2 edits ended in an error."


def test_sentence_of_many_groups_names_the_worst_case_in_full(make_record: MakeRecord) -> None:
    records = [
        make_record("1", COLLAPSED, 2000.0, model="a", editor="x"),
        make_record("1", COLLAPSED, 3000.0, model="b", editor="x"),
    ]

    assert verdict_sentence(records) == (
        "2 of 2 edits collapsed their model (2 models, 1 editor); worst ME-PPL 3,000 at b-x-1."
    )


def test_sentence_is_one_line_whatever_the_names(make_record: MakeRecord) -> None:
    sentence = verdict_sentence([make_record("a\nb", COLLAPSED, 2000.0, model="m\x1b[2J\r")])

    assert sentence.isprintable()
    assert r"a\nb" in sentence
