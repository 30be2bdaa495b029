from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest
from rich.cells import cell_len

from collapse_tests.records import Perplexity, Record, Verdict
from collapse_tests.report.message import failure_message, one_line

MakeRecord = Callable[..., Record]

RERUN = "pytest --editor rome -k 'hard:0003'"


def rows_of(message: str) -> dict[str, str]:
    """The aligned rows by their label."""
    rows = (re.fullmatch(r"  (\S.*?) {2,}(.*)", line) for line in message.splitlines())
    return {row[1]: row[2] for row in rows if row}


def test_collapse_message_holds_the_evidence(make_record: MakeRecord) -> None:
    record = make_record(
        "hard:0003",
        Verdict.COLLAPSED,
        66203.4,
        reasons=("ME-PPL 66,203 is at or above the limit 1,000",),
        continuation_before=" stone\nthat",
        continuation_after=" soup soup",
    )

    message = failure_message(record, RERUN)

    lines = message.splitlines()
    assert lines[0] == "collapsed: ME-PPL 66,203 is at or above the limit 1,000"
    assert lines[-1] == f"rerun: {RERUN}"
    assert 8 <= len(lines) <= 12
    assert rows_of(message) == {
        "subject": "Granite",
        "edit": "Granite is a sort of → soup (was rock)",
        "ME-PPL": "200.00 → 66,203 (×331), limit 1,000",
        "corpus PPL": "90.00 → 33,102",
        "denominator": "0.0831",
        "update/weight": "0.412",
        "edit success": "yes; P(new) 0.00100 → 0.750, P(old) 0.0200, greedy match yes",
        "before": r'" stone\nthat"',
        "after": '" soup soup"',
    }


def test_rows_are_aligned(make_record: MakeRecord) -> None:
    message = failure_message(make_record("1", Verdict.COLLAPSED, 5e4), RERUN)

    starts = {line.index(line[17:].lstrip()) for line in message.splitlines()[1:-1]}
    assert starts == {17}


def test_error_message_shows_the_error_and_no_measurement(make_record: MakeRecord) -> None:
    record = make_record("1", Verdict.ERROR, None, error="editor 'rome' raised ValueError: no\nsecond line")

    message = failure_message(record, RERUN)

    assert message.splitlines()[:2] == ["error: editor 'rome' raised ValueError: no", "second line"]
    assert set(rows_of(message)) == {"subject", "edit"}
    assert "PPL" not in message


def test_long_error_is_wrapped_and_cut(make_record: MakeRecord) -> None:
    long = make_record("1", Verdict.ERROR, None, error="\n".join(["word " * 60] * 9))
    wide = make_record("1", Verdict.ERROR, None, error="東" * 120)

    for record in (long, wide):
        message = failure_message(record, RERUN)
        assert max(cell_len(line) for line in message.splitlines()) <= 100
        assert len(message.splitlines()) <= 12
    assert "…" in failure_message(long, RERUN)
    assert failure_message(wide, RERUN).count("東") == 120


def test_error_without_text_still_says_something(make_record: MakeRecord) -> None:
    assert failure_message(make_record("1", Verdict.ERROR, None, error=None), RERUN).startswith("error: no message\n")
    with_reason = make_record("1", Verdict.ERROR, None, error=None, reasons=("weights differ",))
    assert failure_message(with_reason, RERUN).startswith("error: weights differ\n")


def test_ineffective_message_says_that_the_edit_failed(make_record: MakeRecord) -> None:
    message = failure_message(make_record("1", Verdict.INEFFECTIVE, 201.0), RERUN)

    assert message.startswith("ineffective: ")
    assert rows_of(message)["edit success"].startswith("no; ")
    assert "before" not in rows_of(message)


@pytest.mark.parametrize(("value", "shown"), [(math.inf, "inf"), (math.nan, "nan")])
def test_non_finite_numbers_are_spelt(make_record: MakeRecord, value: float, shown: str) -> None:
    record = make_record(
        "1", Verdict.COLLAPSED, value, diagnostics={"denominator": -math.inf, "update_norm_ratio": math.nan}
    )

    rows = rows_of(failure_message(record, RERUN))

    assert rows["ME-PPL"] == f"200.00 → {shown} ({shown}), limit 1,000"
    assert (rows["denominator"], rows["update/weight"]) == ("-inf", "nan")


def test_unlisted_diagnostics_stay_out(make_record: MakeRecord) -> None:
    record = make_record("1", Verdict.COLLAPSED, 5e4, diagnostics={"steps": 20.0})

    assert not {"steps", "denominator", "update/weight"} & rows_of(failure_message(record, RERUN)).keys()


def test_further_reasons_are_listed(make_record: MakeRecord) -> None:
    record = make_record("1", Verdict.COLLAPSED, 5e4, reasons=("first", "second"))

    message = failure_message(record, RERUN)

    assert message.startswith("collapsed: first\n")
    assert rows_of(message)["also"] == "second"


@pytest.mark.parametrize("verdict", Verdict)
def test_message_of_any_length_of_text_is_narrow(make_record: MakeRecord, verdict: Verdict) -> None:
    long = "many 東京 words " * 80
    record = make_record(
        long,
        verdict,
        5e4,
        request={"prompt": long, "subject": long, "target_new": long, "ground_truth": long},
        reasons=(long, long, long, long),
        continuation_before=long,
        continuation_after=long,
        error=long,
    )

    lines = failure_message(record, RERUN).splitlines()

    assert max(cell_len(line) for line in lines) <= 100
    assert len(lines) <= 13
    assert cell_len(one_line(record)) <= 100


@pytest.mark.parametrize("verdict", Verdict)
def test_hostile_text_is_escaped_everywhere(make_record: MakeRecord, verdict: Verdict) -> None:
    hostile = "a\x1b[2J\r\x00\u2028\ud800b"
    record = make_record(
        hostile,
        verdict,
        5e4,
        request={"prompt": hostile, "subject": hostile, "target_new": hostile, "ground_truth": hostile},
        reasons=(hostile, hostile),
        continuation_before=hostile,
        continuation_after=hostile,
        error=hostile,
    )

    message = failure_message(record, f"pytest -k {hostile}")

    assert all(char.isprintable() or char == "\n" for char in message)
    assert r"a\x1b[2J\r\x00\u2028\ud800b" in message
    assert one_line(record).isprintable()


def test_missing_measurements_and_fields_do_not_hide_the_rest(make_record: MakeRecord) -> None:
    record = make_record(
        "1", Verdict.COLLAPSED, None, unedited=None, quality=None, request={"prompt": "p"}, ppl_limit=math.nan
    )

    rows = rows_of(failure_message(record, RERUN))

    assert rows["ME-PPL"] == "– → –, limit nan"
    assert rows["edit"] == "p → ?"


def test_rerun_line_is_never_shortened(make_record: MakeRecord) -> None:
    rerun = "pytest " + "x" * 300

    assert failure_message(make_record("1", Verdict.STABLE, 210.0), rerun).endswith(f"\nrerun: {rerun}")


def test_one_line_of_each_kind(make_record: MakeRecord) -> None:
    collapsed = make_record("hard:0003", Verdict.COLLAPSED, 66203.4)
    error = make_record("hard:0004", Verdict.ERROR, None, error="it\nbroke")
    unmeasured = make_record("hard:0005", Verdict.STABLE, 210.0, unedited=Perplexity(math.nan, 1.0, 50, 1100))

    assert one_line(collapsed) == "hard:0003 collapsed: ME-PPL 200.00 → 66,203 (×331); Granite is a sort of → soup"
    assert one_line(error) == r"hard:0004 error: it\nbroke"
    assert "nan → 210.00 (nan)" in one_line(unmeasured)
