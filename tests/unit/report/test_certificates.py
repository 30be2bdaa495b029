from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from collapse_tests.records import Record, Verdict
from collapse_tests.report.certificates import certificate_lines
from collapse_tests.report.rows import summarise
from collapse_tests.verdict.certificate import upper_limit

MakeRecord = Callable[..., Record]


def test_one_group_without_a_collapse(make_record: MakeRecord) -> None:
    cases = [make_record(str(n), Verdict.STABLE, 200.0) for n in range(70)]
    cases += [make_record("x", Verdict.INEFFECTIVE, 200.0), make_record("y", Verdict.INEFFECTIVE, 200.0)]
    cases += [make_record("z", Verdict.ERROR, None)]

    assert certificate_lines(summarise(cases)) == [
        "No collapse in 72 cases: below 4.1% of edits drawn like these, at 95% confidence; "
        "227 more would show below 1%."
    ]


def test_only_groups_without_a_collapse_and_with_a_case_have_one(make_record: MakeRecord) -> None:
    cases = [
        make_record("1", Verdict.STABLE, 200.0),
        make_record("2", Verdict.COLLAPSED, 5e4),
        make_record("1", Verdict.ERROR, None, editor="memit"),
        make_record("1", Verdict.STABLE, 200.0, editor="ft"),
    ]

    assert certificate_lines(summarise(cases)) == [
        "smollm2-135m under ft: no collapse in 1 case: below 95% of edits drawn like these, at 95% confidence; "
        "28 more would show below 10%."
    ]


@pytest.mark.parametrize("cases", [1, 2, 9, 28, 29, 30, 58, 298, 299, 300, 3000, 40_000])
def test_what_is_claimed_is_never_less_than_the_limit(make_record: MakeRecord, cases: int) -> None:
    (line,) = certificate_lines(summarise([make_record("1", Verdict.STABLE, 200.0)] * cases))

    found = re.search(r"below ([\d.]+)% of", line)
    assert found is not None
    claimed = float(found[1]) / 100
    assert upper_limit(0, cases) - 1e-9 <= claimed <= 1.11 * upper_limit(0, cases)
    assert ("more would show" in line) is (cases < 40_000)
