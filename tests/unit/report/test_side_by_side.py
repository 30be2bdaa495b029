from __future__ import annotations

import io
import math
from dataclasses import replace

import pytest

from collapse_tests.baseline.snapshot import CaseOutcome, Group, Snapshot
from collapse_tests.report.side_by_side import NamedRun, contrasts, entries, run_differences
from collapse_tests.report.side_by_side_tables import print_side_by_side
from collapse_tests.report.terminal import make_console
from tests.unit.baseline.cases import COLLAPSED, ERROR, FACTS, INEFFECTIVE, outcome


def named(letter: str, groups: dict[str, dict[str, CaseOutcome]], *, digest: str = "d", **facts: object) -> NamedRun:
    """A run; groups are named `<model>-<editor>`."""
    made = {name: Group(name.partition("-")[0], name.partition("-")[2], digest, {}) for name in groups}
    cases = {f"{name}-{edit_id}": one for name, some in groups.items() for edit_id, one in some.items()}
    return NamedRun(letter, f"reports/{letter}", Snapshot(FACTS | facts, made, cases))


def cases(collapsed: int, n: int = 12) -> dict[str, CaseOutcome]:
    return {f"f:{i:04}": outcome(COLLAPSED, 5e4) if i < collapsed else outcome() for i in range(n)}


def pairs(*runs: NamedRun) -> list[tuple[str, str]]:
    return [
        (f"{one.reference.run.letter} {one.reference.name}", f"{one.entry.run.letter} {one.entry.name}")
        for one in contrasts(entries(runs))
    ]


def printed(*runs: NamedRun, width: int = 120) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="utf-8", newline="\n")
    print_side_by_side(runs, 5, make_console(file, width=width))
    file.flush()
    return raw.getvalue().decode()


def test_the_same_editor_is_compared_where_it_is_there_and_all_of_them_elsewhere() -> None:
    first = named("A", {"m-rome": cases(0), "m-ft": cases(0), "x-rome": cases(0)})
    second = named("B", {"m-rome": cases(0), "m-memit": cases(0), "y-rome": cases(0)}, digest="e")

    assert pairs(first, second) == [("A m-rome", "B m-rome"), ("A m-rome", "B m-memit"), ("A m-ft", "B m-memit")]


def test_editors_of_one_run_are_compared_with_its_first() -> None:
    run = named("A", {"m-rome": cases(0), "x-rome": cases(0), "m-ft": cases(0), "m-memit": cases(0)}, digest="")

    assert pairs(run) == [("A m-rome", "A m-ft"), ("A m-rome", "A m-memit")]


def test_a_model_under_another_name_is_known_by_its_weights() -> None:
    assert pairs(named("A", {"m-rome": cases(0)}), named("B", {"copy-rome": cases(0)})) == [("A m-rome", "B copy-rome")]


def test_two_editors_on_the_same_requests() -> None:
    (contrast,) = contrasts(entries([named("A", {"m-rome": cases(8)}), named("B", {"m-memit": cases(0)})]))

    assert contrast.compared.pairs == 12
    assert contrast.collapse_p_value == pytest.approx(2 * 0.5**8)
    (other,) = contrasts(entries([named("A", {"m-memit": cases(0)}), named("B", {"m-rome": cases(8)})]))
    assert other.collapse_p_value == contrast.collapse_p_value


def test_what_an_entry_amounts_to() -> None:
    nan = outcome(COLLAPSED, math.nan, tasks={"quiz": math.nan})
    found = {
        "f:0": nan,
        "f:1": outcome(me_ppl=100.0, tasks={"quiz": 0.5}),
        "f:2": outcome(INEFFECTIVE, 300.0, tasks={"quiz": 0.75}),
        "f:3": outcome(ERROR, None, success=None),
    }
    (entry,) = entries([named("A", {"m-rome": found})])

    assert (entry.collapses.hits, entry.collapses.n, entry.errors) == (1, 3, 1)
    assert entry.median_me_ppl == 300.0
    assert (entry.success.hits, entry.success.n) == (2, 3)
    assert entry.tasks == {"quiz": 0.5}
    (bad,) = entries([named("A", {"m-rome": {"f:0": nan}})])
    assert math.isnan(bad.tasks["quiz"])


def test_differences_come_first() -> None:
    first = named("A", {"m-rome": cases(2)})
    second = named("B", {"m-rome": cases(1) | {"f:0001": outcome(request="new")}}, seed=1)

    assert list(run_differences([first, second])) == [
        "B: seed 1, was 0 in A",
        "B: under the same names other requests than in A: f:0001",
    ]
    text = printed(first, second)
    assert text.index("differs: B: seed 1") < text.index("95% interval") < text.index("B (m under rome) against A")
    assert "another request under the same name, not compared: f:0001" in text
    assert "11 requests measured in both" in text


def test_collapses_under_other_rules_are_not_tested() -> None:
    text = printed(named("A", {"m-rome": cases(9)}), named("B", {"m-rome": cases(0)}, ppl_limit=500.0))

    assert "not tested, as a collapse is another thing in each: --ppl-limit" in text
    assert "p =" not in text
    assert "9/12 75%" in text


def test_other_weights_are_named_and_tested() -> None:
    text = printed(named("A", {"m-rome": cases(9)}), named("B", {"m-rome": cases(0)}, digest="e" * 32))

    assert "differs: weights of m eeeeeeeeeeee, was d" in text
    assert "collapses: 0 of 12 against 9 of 12, 0 only here and 9 only there (exact McNemar test, two-sided" in text


def test_requests_with_two_verdicts_are_listed_worst_first() -> None:
    before = {"f:0": outcome(), "f:1": outcome(), "f:2": outcome(COLLAPSED, 2e3), "f:3": outcome(COLLAPSED, 5e4)}
    after = {
        "f:0": outcome(COLLAPSED, 3e3),
        "f:1": outcome(COLLAPSED, math.nan),
        "f:2": outcome(),
        "f:3": outcome(COLLAPSED, 4e4),
    }
    hostile = {"[b]\u202e:9": outcome(COLLAPSED, math.inf)}

    text = printed(named("A", {"m-rome": before | {"[b]\u202e:9": outcome()}}), named("B", {"m-rome": after | hostile}))

    assert "other verdicts, 4 of 4" in text
    rows = [line.split()[0] for line in text.splitlines() if line.startswith(("f:", "["))]
    assert rows == ["f:1", "[b]\\u202e:9", "f:0", "f:2"]


def test_only_errors_on_one_side() -> None:
    run = named("A", {"m-rome": {"f:0": outcome(ERROR, None, success=None)}})

    text = printed(run, replace(run, letter="B"))

    assert "0 requests measured in both" in text
    assert "p =" not in text
