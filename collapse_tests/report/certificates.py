"""What the cases of a run without a collapse are worth, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from collapse_tests.records import Verdict
from collapse_tests.report.rows import GroupSummary
from collapse_tests.verdict.certificate import CONFIDENCE, certify
from collapse_tests.wording import counted

__all__ = ["certificate_lines"]


def certificate_lines(groups: Sequence[GroupSummary]) -> list[str]:
    """One line for every model and editor whose cases show no collapse; cases that ended in an error are none."""
    lines = []
    for group in groups:
        cases = group.cases - group.verdicts[Verdict.ERROR]
        if cases and not group.verdicts[Verdict.COLLAPSED]:
            line = _line(cases)
            lines.append(f"{group.model} under {group.editor}: {line}" if len(groups) > 1 else _capitalised(line))
    return lines


def _line(cases: int) -> str:
    found = certify(cases)
    line = (
        f"no collapse in {counted(cases, 'case')}: below {_percent_above(found.limit)} of edits drawn like these, "
        f"at {CONFIDENCE:.0%} confidence"
    )
    return line + ("." if found.goal is None else f"; {found.more:,} more would show below {100 * found.goal:g}%.")


def _capitalised(line: str) -> str:
    return line[0].upper() + line[1:]


def _percent_above(share: float) -> str:
    """A share in per cent to two significant digits, rounded up: what is claimed must hold."""
    percent = 100 * share
    step = 10.0 ** (math.floor(math.log10(percent)) - 1)
    # A share just above a step by rounding alone stays there.
    return f"{math.ceil(percent / step - 1e-9) * step:.3g}%"
