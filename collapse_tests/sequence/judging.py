"""What a state of a sequence is found to be; `collapse_tests.verdict` decides, this asks it and puts it in words."""

from __future__ import annotations

from collections.abc import Sequence

from collapse_tests.metrics.downstream.catalogue import when_measured
from collapse_tests.records import Perplexity
from collapse_tests.sequence.node import Node
from collapse_tests.settings import Downstream, Settings
from collapse_tests.verdict import is_suspect, perplexity_reasons
from collapse_tests.wording import counted

__all__ = ["edits", "first_collapse", "tasks_are_due", "why_collapsed"]


def why_collapsed(node: Node, limit: float) -> tuple[str, ...]:
    """The reasons to call the model of a state collapsed, one sentence each; none if it is not."""
    reasons = perplexity_reasons(node.perplexity, limit)
    if not node.not_finite:
        return reasons
    names = ", ".join(node.not_finite[:3]) + (", …" if len(node.not_finite) > 3 else "")
    return (*reasons, f"weights are not finite in {names}")


def tasks_are_due(settings: Settings, unedited: Perplexity, last: Node) -> bool:
    """Whether a run measures downstream tasks in the last state of a sequence."""
    match when_measured(settings.downstream, settings.tasks):
        case Downstream.NEVER:
            return False
        case Downstream.SUSPECT:
            return is_suspect(unedited, last.perplexity, settings.suspect_growth)
    return True


def first_collapse(nodes: Sequence[Node], limit: float) -> int | None:
    """After how many edits the model is first found collapsed, or None."""
    return next((count for count, node in enumerate(nodes, start=1) if why_collapsed(node, limit)), None)


def edits(count: int) -> str:
    """A number of edits in words."""
    return counted(count, "edit")
