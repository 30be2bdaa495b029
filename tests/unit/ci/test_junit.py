from __future__ import annotations

from collapse_tests.ci.junit import totals
from collapse_tests.errors import ErrorKind
from collapse_tests.properties import properties
from collapse_tests.records import Verdict
from tests.unit.ci.outcomes import outcome, record, sequence


def test_totals() -> None:
    found = dict(totals(outcome(record("hard:0000"), record("hard:0001", Verdict.STABLE), directory="r", resumed=1)))

    assert str(found.pop("collapse.summary")).startswith("1 of 2 edits collapsed m under rome; ")
    assert found == {
        "collapse.cases": 2,
        "collapse.cases.stable": 1,
        "collapse.cases.collapsed": 1,
        "collapse.cases.ineffective": 0,
        "collapse.cases.error": 0,
        "collapse.cases.resumed": 1,
        "collapse.run": "r",
    }


def test_totals_of_sequences() -> None:
    found = dict(totals(outcome(sequence())))

    assert found["collapse.sequences"] == found["collapse.sequences.collapsed"] == 1
    assert "collapse.cases" not in found
    assert "collapse.run" not in found


def test_what_a_case_and_a_sequence_have_alike() -> None:
    for one in (record("hard:0000"), sequence(ppl_limit=1000.0)):
        assert dict(properties(one)).items() >= {
            ("collapse.verdict", "collapsed"),
            ("collapse.model", "m"),
            ("collapse.editor", "rome"),
            ("collapse.ppl_limit", 1000.0),
            ("collapse.reason", "it is so"),
        }
    broken = dict(properties(record("hard:0000", Verdict.ERROR, error_kind=ErrorKind.USAGE)))
    assert broken["collapse.error_kind"] == "usage"
    assert "collapse.error_kind" not in dict(properties(record("hard:0000")))
