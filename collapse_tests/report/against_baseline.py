"""A run against its baseline, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from collapse_tests.baseline.comparison import Comparison, GroupComparison
from collapse_tests.baseline.differences import some_of
from collapse_tests.baseline.scenarios import Change, ScenarioOutcome, edits
from collapse_tests.report.baseline_news import BaselineNews
from collapse_tests.report.formatting import Notation
from collapse_tests.verdict.regression import Shift
from collapse_tests.wording import counted

__all__ = ["baseline_news", "print_baseline_news", "ratio_text", "shift_text"]

_STYLES = {
    "regression:": "bold red",
    "newly collapsed:": "red",
    "fixed:": "bold green",
    "fixed in part:": "bold green",
    "not compared:": "yellow",
    "compared on fewer cases:": "yellow",
}


def baseline_news(comparison: Comparison) -> BaselineNews:
    """What is to be told of a comparison."""
    lines = [f"other than in the baseline: {difference}" for difference in comparison.differences]
    lines += [f"not in the baseline: {title}" for title in comparison.new_groups]
    lines += [f"not in this run: {title}" for title in comparison.missing_groups]
    for group in comparison.groups:
        told = list(_group_lines(group))
        lines += [group.title, *(f"  {line}" for line in told)] if told else []
    return BaselineNews(_headline(comparison), tuple(lines))


def print_baseline_news(news: BaselineNews | None, extra: Sequence[str], console: Console) -> None:
    """Print the section "against the baseline".

    Args:
        news: what changed; None where there was nothing to compare with.
        extra: further lines, at its end.
        console: where to print.
    """
    notation = Notation.of(console.encoding)
    console.print()
    console.print(Rule(Text("against the baseline", style="bold"), style="none"))
    console.print()
    for line in (*(news.lines if news else ()), *extra):
        style = next((style for start, style in _STYLES.items() if line.lstrip().startswith(start)), "")
        console.print(Text(notation.show(line), style=style), soft_wrap=True)
    if news is not None:
        console.print(Text(notation.show(news.headline), style="bold"), soft_wrap=True)


def shift_text(shift: Shift) -> str:
    """Counts after and before, and the test's answer."""
    return (
        f"{shift.after:,} of {shift.cases_after:,}, was {shift.before:,} of {shift.cases_before:,} "
        f"(exact {shift.test} test, p = {shift.p_value:.2g})"
    )


def ratio_text(median_log_ratio: float) -> str:
    """The ratio of which the logarithm is given."""
    return f"{math.exp(median_log_ratio):.4g}" if median_log_ratio < 700 else "inf"


def _headline(comparison: Comparison) -> str:
    if not any(group.is_compared for group in comparison.groups):
        return "Against the baseline: no case of this run can be compared with it."

    def count(change: Change, cases: str = "") -> int:
        singles = sum(len(getattr(group, cases)) for group in comparison.groups) if cases else 0
        return singles + sum(len(group.scenarios_of(change)) for group in comparison.groups)

    newly, earlier = count(Change.NEW, "newly_collapsed"), count(Change.EARLIER)
    fixed, later = count(Change.FIXED, "fixed"), count(Change.LATER)
    known = count(Change.KNOWN, "still_collapsed")
    parts = [f"{newly:,} newly collapsed" if newly else "nothing newly collapsed"]
    parts += [f"{earlier:,} collapsed earlier"] if earlier else []
    parts += [f"{fixed:,} fixed"] if fixed else []
    parts += [f"{later:,} collapsed later"] if later else []
    parts += [counted(known, "known collapse")] if known else []
    worse = [group.title for group in comparison.groups if group.is_worse]
    verdict = f"; worse as a whole: {', '.join(worse)}" if worse else ""
    return f"Against the baseline: {', '.join(parts)}{verdict}."


def _group_lines(group: GroupComparison) -> Iterator[str]:
    for difference in group.differences:
        yield f"other than in the baseline: {difference}"
    if group.other_weights:
        yield "not compared: the unedited model is another one; its cases are judged as without a baseline"
        return
    if group.untried:
        told = f"{some_of(group.untried)} ended in an error that is not the editor's"
        yield f"compared on fewer cases: {told}"
    yield from _regressions(group)
    if group.newly_collapsed:
        yield f"newly collapsed: {some_of(group.newly_collapsed)}"
    if group.fixed:
        untaken = f" (in {len(group.untaken):,} of them the edit no longer takes)" if group.untaken else ""
        yield f"fixed: {some_of(group.fixed)}{untaken}"
    yield from _scenario_lines(group)
    for label, cases in (
        ("known collapses", group.still_collapsed),
        ("another request under the same name, judged as new", group.changed),
        ("ended in an error", group.errors),
    ):
        if cases:
            yield f"{label}: {some_of(cases)}"
    if group.new:
        yield f"cases not in the baseline: {len(group.new):,}"
    if group.missing:
        yield f"cases of the baseline not run: {len(group.missing):,}"


def _regressions(group: GroupComparison) -> Iterator[str]:
    if group.collapses_more and group.collapses is not None:
        yield f"regression: more cases collapse, {shift_text(group.collapses)}"
    if group.takes_less and group.failures is not None:
        yield f"regression: more edits do not take, {shift_text(group.failures)}"
    if group.perplexity_rose and group.surviving_log_ratio is not None:
        ratio = ratio_text(group.surviving_log_ratio)
        yield f"regression: ME-PPL rose, median ratio {ratio}, tolerance {group.tolerance:g}"
    for one in (*group.scenarios_of(Change.NEW), *group.scenarios_of(Change.EARLIER)):
        yield f"regression: {one.name} collapses after {edits(one.after.collapsed_after)}, {_was(one.before)}"


def _scenario_lines(group: GroupComparison) -> Iterator[str]:
    """What is no regression."""
    for one in group.scenarios_of(Change.FIXED):
        yield f"fixed: {one.name} survives {edits(one.after.planned)}, {_was(one.before)}"
    for one in group.scenarios_of(Change.LATER):
        yield f"fixed in part: {one.name} collapses after {edits(one.after.collapsed_after)}, {_was(one.before)}"
    for change, label in (
        (Change.KNOWN, "scenarios known to collapse, after as many edits"),
        (Change.OTHER, "scenarios with other requests under the same name, judged as new"),
    ):
        if found := group.scenarios_of(change):
            yield f"{label}: {some_of(one.name for one in found)}"


def _was(before: ScenarioOutcome) -> str:
    if before.collapsed_after is None:
        return f"survived {edits(before.planned)}"
    return f"was {before.collapsed_after:,}"
