"""What a state of a sequence is found to be; `collapse_tests.verdict` decides, this asks it and puts it in words."""

from __future__ import annotations

from collections.abc import Sequence

from collapse_tests.metrics.downstream.catalogue import when_measured
from collapse_tests.records import EditQuality, Perplexity, TaskResult, Verdict
from collapse_tests.sequence.node import Node
from collapse_tests.settings import Downstream, Settings
from collapse_tests.verdict import is_suspect, judge

__all__ = ["edits", "first_collapse", "tasks_are_due", "why_collapsed", "why_tasks"]

#: Whether the last edit took is another question than whether the model collapsed.
_TOOK = EditQuality(
    success=True,
    greedy_match=True,
    generalisation=None,
    locality=None,
    target_probability=1.0,
    target_probability_before=1.0,
    ground_truth_probability=None,
)


def why_collapsed(node: Node, limit: float) -> tuple[str, ...]:
    """The reasons to call the model of a state collapsed, one sentence each; none if it is not."""
    reasons = _reasons(node.perplexity, limit, ())
    if not node.not_finite:
        return reasons
    names = ", ".join(node.not_finite[:3]) + (", …" if len(node.not_finite) > 3 else "")
    return (*reasons, f"weights are not finite in {names}")


def why_tasks(tasks: Sequence[TaskResult]) -> tuple[str, ...]:
    """The reasons that downstream accuracy gives to call a model collapsed; none if it is not."""
    return _reasons(Perplexity(1.0, 1.0, 1, 1), 2.0, tasks)


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
    return f"{count:,} edit" if count == 1 else f"{count:,} edits"


def _reasons(perplexity: Perplexity, limit: float, tasks: Sequence[TaskResult]) -> tuple[str, ...]:
    judgement = judge(perplexity, _TOOK, limit, tasks)
    return judgement.reasons if judgement.verdict is Verdict.COLLAPSED else ()
