"""Many runs to one: what is put together, what is refused, and what the message says."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

import pytest

from collapse_tests.case_detail import CaseDetail
from collapse_tests.errors import ErrorKind, UsageError
from collapse_tests.records import Record, Verdict
from collapse_tests.report.merge_parts import Part, listed, natural
from collapse_tests.report.merging import Merged, merge
from collapse_tests.sequence_record import SequenceKind, SequenceRecord
from collapse_tests.shards import Selection, Shard
from tests.unit.mining.cases import case, record

SETTINGS: dict[str, Any] = {
    "editors": ["rome"],
    "models": ["m"],
    "edits": ["set.json"],
    "scenarios": [],
    "machines": [],
    "overrides": [],
    "seed": 0,
    "ppl_texts": None,
    "shard": None,
    "resume": None,
    "device": "auto",
}
RECORDS = [record(case(index), 100.0 + index) for index in (0, 1, 2, 3, 10, 11, 12)]
COUNT = 3


def environment(selection: Selection | None, started: str = "", **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "pytest-collapse": "1.0",
        "python": "3.11.9",
        "packages": {"torch": "2.7"},
        "started": started,
        "models": {"m": "feed"},
        "devices": {"main": {"matmul_precision": "float32"}},
        "settings": SETTINGS | {"shard": None if selection is None else selection.shard},
    }
    selected = {} if selection is None else {"selection": asdict(selection)}
    return given | selected | changes


def selection(shard: str | None = None, cases: int = len(RECORDS), digest: str = "d") -> Selection:
    return Selection(shard, cases, cases, len(RECORDS), len(RECORDS), digest)


def whole(place: str, records: list[Record], *, digest: str = "d", cases: int | None = None, **changes: Any) -> Part:
    """A run without shards that selected as many cases as it has records, unless told otherwise."""
    of = replace(selection(digest=digest), cases=len(records) if cases is None else cases)
    return Part.of(place, environment(of, **changes), records)


def shard(index: int, *, cut: int | None = None, place: str = "", **changes: Any) -> Part:
    """One of `COUNT` shards, with its first records only if it is cut."""
    own = list(Shard(index, COUNT).of(RECORDS))
    of = selection(f"{index}/{COUNT}", len(own), changes.pop("digest", "d"))
    return Part.of(place or f"reports/{index}", environment(of, **changes), own[:cut])


def shards(**changes: Any) -> list[Part]:
    return [shard(index, **changes) for index in range(1, COUNT + 1)]


def merged(*parts: Part) -> Merged:
    return merge(parts, incomplete=False)


def refused(*parts: Part) -> str:
    with pytest.raises(UsageError) as caught:
        merge(parts, incomplete=False)
    return str(caught.value)


def test_shards_become_one_run_in_the_natural_order_of_ids() -> None:
    one, two, three = shards()
    found = merged(three, one, two)

    assert list(found.records) == RECORDS
    assert (found.notes, found.gaps) == ((), ())
    assert found.environment["selection"] == asdict(selection())
    assert found.environment["settings"] == SETTINGS
    assert found.environment["devices"].keys() == {"1/3 main", "2/3 main", "3/3 main"}
    assert [run["shard"] for run in found.environment["merged"]["runs"]] == ["1/3", "2/3", "3/3"]


def test_ids_without_leading_zeros_are_in_order_too() -> None:
    ids = ["facts:10", "facts:2", "facts:1"]
    assert sorted(ids, key=natural) == ["facts:1", "facts:2", "facts:10"]
    assert sorted(["b:1", "1", "b1:1", "b", ""], key=natural) == ["", "1", "b", "b1:1", "b:1"]


def test_details_and_sequences_come_along() -> None:
    one, two, three = shards()
    detail = CaseDetail(two.records[0].case_id)
    scenario = SequenceRecord("m-rome-scenario:s", "m", "rome", "s", SequenceKind.SCENARIO, Verdict.STABLE)
    found = merged(one, replace(two, details={detail.case_id: detail}), replace(three, sequences=(scenario,)))
    assert found.details == (detail,)
    assert found.sequences == (scenario,)


def test_missing_shards_are_named_once_and_for_all() -> None:
    assert refused(shard(2)) == (
        "shards 1/3 and 3/3 are missing; give the runs of all shards, or merge what is there with --incomplete"
    )
    assert refused(shard(1), shard(3)).startswith("shard 2/3 is missing; ")
    many = selection("2/999999999", 1)
    found = refused(Part.of("a", environment(many), RECORDS[:1]))
    assert found.startswith("shards 1/999999999, 3/999999999, ")
    assert " and 999,999,992 more are missing; " in found


def test_unfinished_shards_are_named_with_counts() -> None:
    found = refused(shard(1, cut=1), shard(2))
    assert found == (
        "shard 3/3 is missing and shard 1/3 has 1 of its 3 cases (reports/1); give the runs of all shards, finish it "
        "with --shard 1/3 --resume reports/1, or merge what is there with --incomplete"
    )


def test_incomplete_merges_what_is_there_and_says_so() -> None:
    found = merge([shard(1, cut=1), shard(2)], incomplete=True)
    assert [one.case_id for one in found.records] == [RECORDS[index].case_id for index in (0, 1, 4)]
    assert found.gaps == ("shard 3/3 is missing", "shard 1/3 has 1 of its 3 cases (reports/1)")
    assert found.environment["merged"]["gaps"] == list(found.gaps)


def test_a_shard_that_was_killed_and_its_rest_are_one() -> None:
    killed = shard(1, cut=2, place="reports/killed", started="2031-05-06T10:00:00.000+00:00")
    rest = replace(shard(1, place="reports/a", started="2031-05-06T11:00:00.000+00:00"), records=(killed.records[0],))
    third = Part.of("reports/z", environment(killed.selection), RECORDS[6:])
    found = merged(third, rest, killed, shard(2), shard(3))
    assert list(found.records) == RECORDS
    assert found.notes == ()


def test_the_later_verdict_counts_and_is_noted() -> None:
    collapsed = replace(RECORDS[0], verdict=Verdict.COLLAPSED)
    later = replace(shard(1, place="reports/a", started="2"), records=(collapsed, *shard(1).records[1:]))
    found = merged(later, shard(1, started="1", place="reports/b"), shard(2), shard(3))
    assert found.records[0].verdict is Verdict.COLLAPSED
    assert found.notes == ("m-rome-set:0000 is stable in reports/b and collapsed in reports/a; the later one counts",)


def test_without_a_time_names_tell_which_is_later() -> None:
    earlier = replace(shard(1, place="x/20310506-2"), records=(replace(RECORDS[0], verdict=Verdict.COLLAPSED),))
    found = merged(shard(1, place="a/20310506-10"), earlier, shard(2), shard(3))
    assert found.records[0].verdict is Verdict.STABLE


@pytest.mark.parametrize("kind", [ErrorKind.INFRASTRUCTURE, ErrorKind.USAGE, ErrorKind.EDITOR])
@pytest.mark.parametrize("error_is_later", [False, True])
def test_an_error_of_the_machine_stands_for_nothing(kind: ErrorKind, error_is_later: bool) -> None:
    failed = record(case(0), None, error_kind=kind)
    parts = [shard(1, place="a/1"), replace(shard(1, place="a/2"), records=shard(1).records)]
    at = 1 if error_is_later else 0
    parts[at] = replace(parts[at], records=(failed, *parts[at].records[1:]))

    found = merged(*parts, shard(2), shard(3))

    assert found.records[0].verdict is (
        Verdict.ERROR if error_is_later and kind is ErrorKind.EDITOR else Verdict.STABLE
    )
    assert len(found.notes) == (kind is ErrorKind.EDITOR)


def test_numbers_that_are_none_are_put_together_like_others() -> None:
    worst = [record(case(0), math.nan), record(case(1), math.inf)]
    found = merged(whole("a", worst[:1]), whole("b", worst[1:], digest="e"))
    assert [one.verdict for one in found.records] == [Verdict.COLLAPSED] * 2


def test_a_shard_without_tests_is_there() -> None:
    empty = Part.of("reports/9", environment(replace(selection("2/2", 0), digest="f")), [])
    one = Part.of("reports/1", environment(selection("1/2", digest="f")), RECORDS)
    assert list(merged(empty, one).records) == RECORDS


# What does not belong together --------------------------------------------------------------------------------


def with_settings(part: Part, **changes: Any) -> Part:
    return replace(part, environment={**part.environment, "settings": {**part.settings, **changes}})


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            replace(shard(2), environment={**shard(2).environment, "pytest-collapse": "2.0"}),
            "reports/1 was made by pytest-collapse 1.0 and reports/2 by 2.0; run one of them again",
        ),
        (shard(2, digest="e"), "reports/1 and reports/2 are shards of different tests, in ids or in requests; "),
        (
            Part.of("o", environment(replace(selection("2/3"), digest="e", whole_tests=9)), RECORDS),
            "reports/1 and o are shards of different tests, of 7 tests and of 9; ",
        ),
        (Part.of("o", environment(selection("2/4")), []), "reports/1 is shard 1/3 and o is shard 2/4; "),
        (whole("o", RECORDS), "reports/1 is shard 1/3 and o is none; "),
        (with_settings(shard(2), seed=1), "--seed was 0 in reports/1 and 1 in reports/2; "),
        (with_settings(shard(2), ppl_texts="t/x.json"), "--ppl-texts was default in reports/1 and x.json in reports/2"),
        (
            with_settings(shard(2), overrides=[{"editor": "rome", "field": "steps", "value": 5}]),
            "rome.steps was left as it is in reports/1 and 5 in reports/2; ",
        ),
        (
            replace(shard(2), records=(replace(RECORDS[1], model_digest="beef"),)),
            "reports/1 and reports/2 are of different weights of m (feed and beef); ",
        ),
    ],
    ids=["version", "digest", "tests", "number", "no shard", "setting", "sentences", "hyper-parameter", "weights"],
)
def test_what_differs_is_named(other: Part, message: str) -> None:
    assert refused(shard(1), other).startswith(message)


def test_where_and_how_a_run_is_made_may_differ() -> None:
    manner = {"device": "cuda:1", "batch_size": 4, "resume": "reports", "reports_dir": "x", "gitlab_code_quality": "q"}
    assert merged(shard(1), with_settings(shard(2), **manner), shard(3)).notes == ()


def test_other_packages_are_noted() -> None:
    found = merged(
        shard(1),
        shard(2, packages={"torch": "2.8"}),
        shard(3, devices={"gw0": {"matmul_precision": "tf32"}}, python="3.12.1"),
    )
    assert found.notes == (
        "python: 3.11.9 in reports/1 and reports/2; 3.12.1 in reports/3",
        "torch: 2.7 in reports/1 and reports/3; 2.8 in reports/2",
        "matrix products: float32 in reports/1 and reports/2; tf32 in reports/3",
    )


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        {"settings": []},
        {"settings": SETTINGS, "selection": {"shard": "1/3"}},
        {"settings": SETTINGS, "selection": asdict(selection("9/3"))},
        {"settings": SETTINGS, "selection": "none"},
    ],
)
def test_an_environment_that_is_none_is_named(damaged: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"^environment.json of reports/x is not a run's \(\w+: "):
        Part.of("reports/x", damaged, [])


# Runs without shards ------------------------------------------------------------------------------------------


def test_runs_of_other_editors_and_models_are_put_together() -> None:
    ft = record(case(0, editor="ft"), 200.0)
    override = {"editor": "ft", "field": "lr", "value": 1}
    other = with_settings(whole("b", [ft], digest="e"), editors=["ft"], overrides=[override])
    found = merged(whole("a", RECORDS), other)
    assert list(found.records) == [ft, *RECORDS]
    assert found.environment["settings"]["editors"] == ["rome", "ft"]
    assert found.environment["settings"]["overrides"] == [override]
    assert "selection" not in found.environment


def test_a_run_that_was_killed_needs_its_rest() -> None:
    killed = whole("reports/1", RECORDS[:3], cases=7)
    assert refused(killed) == (
        "reports/1 has 3 of its 7 cases; finish it with --resume reports/1, or merge what is there with --incomplete"
    )
    ft = with_settings(whole("b", [record(case(9, editor="ft"))] * 9, digest="e"), editors=["ft"])
    assert refused(killed, replace(ft, selection=None)).startswith("reports/1 has 3 of its 7 cases; ")
    rest = whole("reports/2", RECORDS[3:], digest="e")
    assert list(merged(rest, killed).records) == RECORDS
    assert list(merged(whole("reports/2", RECORDS), killed).records) == RECORDS


def test_runs_of_other_tests_must_not_contradict_each_other() -> None:
    collapsed = replace(RECORDS[0], verdict=Verdict.COLLAPSED)
    message = refused(whole("a", RECORDS), whole("b", [collapsed], digest="e"))
    assert message == "m-rome-set:0000 is stable in a and collapsed in b; leave one of these runs out"
    near = record(case(0), 100.0000001)
    assert merged(whole("a", RECORDS), whole("b", [near], digest="e")).records[0] == near


def test_the_same_id_with_other_texts_is_no_same_case() -> None:
    other = replace(RECORDS[0], request={**RECORDS[0].request, "target_new": "Chad"})
    message = refused(whole("a", RECORDS), whole("b", [other], digest="e"))
    assert message.startswith("m-rome-set:0000 is of other texts in a than in b; ")


def test_what_was_merged_incomplete_stays_so() -> None:
    ft = with_settings(whole("b", [record(case(0, editor="ft"))], digest="e", cases=2), editors=["ft"])
    once = merge([whole("a", RECORDS), ft], incomplete=True)
    again = Part.of("c", once.environment, once.records)
    assert refused(again).startswith("c was itself merged of what was there; ")


def test_runs_of_before_selections_were_remembered() -> None:
    old = Part.of("a", environment(None), RECORDS[:2])
    assert list(merged(old, whole("b", RECORDS[2:])).records) == RECORDS


def test_lists_in_messages() -> None:
    assert listed([]) == ""
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(list("abcdefgh")) == "a, b, c, d, e, f and 2 more"
    assert listed(list("abcdef"), 100) == "a, b, c, d, e, f and 94 more"
