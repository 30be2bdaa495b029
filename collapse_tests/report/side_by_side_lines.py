"""What two runs differ in, in words that a terminal and a page share."""

from __future__ import annotations

from collections.abc import Iterator

from collapse_tests.baseline.differences import some_of
from collapse_tests.baseline.snapshot import CaseOutcome
from collapse_tests.records import badness
from collapse_tests.report.against_baseline import ratio_text
from collapse_tests.report.side_by_side import Contrast, Entry, Pair
from collapse_tests.verdict.regression import Shift

__all__ = ["column_names", "contrast_lines", "contrast_title", "differing_cases"]


def contrast_title(contrast: Contrast) -> str:
    """Which entry against which."""
    return f"{_named(contrast.entry)} against {_named(contrast.reference)}"


def contrast_lines(contrast: Contrast) -> Iterator[str]:
    """What differs between the two, then how their edits came out and what the paired tests say."""
    for difference in contrast.differences:
        if difference.what != "editor":
            yield f"differs: {difference}"
    if contrast.barriers:
        names = ", ".join(f"--{difference.what}" for difference in contrast.barriers)
        yield f"not tested, as a collapse is another thing in each: {names}"
        return
    compared = contrast.compared
    yield f"{compared.pairs:,} requests measured in both"
    if compared.changed:
        yield f"another request under the same name, not compared: {some_of(compared.changed)}"
    if compared.collapses is not None and contrast.collapse_p_value is not None:
        yield f"collapses: {_shift(compared.collapses, contrast.collapse_p_value)}"
    if compared.median_log_ratio is not None:
        yield f"ME-PPL: median ratio {ratio_text(compared.median_log_ratio)}"
    if compared.failures is not None and contrast.failure_p_value is not None:
        yield f"edits that do not take: {_shift(compared.failures, contrast.failure_p_value)}"


def differing_cases(contrast: Contrast) -> list[Pair]:
    """The requests with two verdicts, the highest ME-PPL first; none where outcomes cannot be compared."""
    if contrast.barriers:
        return []
    rows = (pair for pair in contrast.pairs if pair.before.verdict is not pair.after.verdict)
    return sorted(rows, key=lambda row: max(_badness(row.before), _badness(row.after)), reverse=True)


def column_names(contrast: Contrast) -> tuple[str, str]:
    """What tells the two apart: the letters of their runs or, within one run, their editors."""
    there, here = contrast.reference, contrast.entry
    if there.run is not here.run:
        return there.run.letter, here.run.letter
    return there.group.editor, here.group.editor


def _named(entry: Entry) -> str:
    return f"{entry.run.letter} ({entry.group.title})"


def _shift(shift: Shift, p_value: float) -> str:
    counts = f"{shift.after:,} of {shift.cases_after:,} against {shift.before:,} of {shift.cases_before:,}"
    only = f", {shift.worse:,} only here and {shift.better:,} only there" if shift.test == "McNemar" else ""
    return f"{counts}{only} (exact {shift.test} test, two-sided p = {p_value:.2g})"


def _badness(outcome: CaseOutcome) -> tuple[bool, float]:
    return badness(0.0 if outcome.me_ppl is None else outcome.me_ppl)
