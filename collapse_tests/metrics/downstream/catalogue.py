"""What names of tasks stand for; imports no framework, so that options can be checked with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from collapse_tests.settings import DEFAULT_TASKS, Downstream

__all__ = ["SHIPPED_FOLDER", "SHIPPED_TASKS", "TaskName", "expand_tasks", "when_measured"]

#: The shipped tasks, small and offline.
SHIPPED_TASKS = ("collapse_commonsense", "collapse_completion", "collapse_last_word")

#: Where their definitions and items are.
SHIPPED_FOLDER = Path(__file__).parents[2] / "data" / "tasks"


@dataclass(frozen=True, slots=True)
class TaskName:
    """A task as the user names it.

    Attributes:
        name: the name.
        parts: lm-eval's tasks it is made of; its score is the unweighted mean of theirs.
        folder: of lm-eval's task definitions in which those are, so that not all of its 14,000 need be read; None for
            wherever they are.
    """

    name: str
    parts: tuple[str, ...]
    folder: str | None = None

    @property
    def shipped(self) -> bool:
        """Whether it is one of the project's own."""
        return self.name in SHIPPED_TASKS

    @property
    def known(self) -> bool:
        """Whether `parts` are lm-eval's single tasks; any other name may be a group or a tag."""
        return self.name in _KNOWN


#: The tasks of 'The Butterfly Effect of Model Editing', section 4.1. Its figure for LAMBADA (0.68 for Llama 2 7B) fits
#: `lambada_standard`, as `lambada_openai` is at 0.73; that for MMLU the unweighted mean of four subjects.
_STUDY = (
    TaskName("hellaswag", ("hellaswag",), "hellaswag"),
    TaskName("piqa", ("piqa",), "piqa"),
    TaskName("lambada", ("lambada_standard",), "lambada"),
    TaskName("lambada_standard", ("lambada_standard",), "lambada"),
    TaskName("lambada_openai", ("lambada_openai",), "lambada"),
    TaskName(
        "mmlu_sub",
        ("mmlu_formal_logic", "mmlu_public_relations", "mmlu_college_physics", "mmlu_global_facts"),
        "mmlu/default",
    ),
    TaskName("nq_open", ("nq_open",), "nq_open"),
    TaskName("squadv2", ("squadv2",)),
)
_KNOWN = {task.name: task for task in _STUDY} | {name: TaskName(name, (name,)) for name in SHIPPED_TASKS}


def expand_tasks(names: Iterable[str]) -> list[TaskName]:
    """What the names of `--tasks` stand for, each task once, in order; unknown ones are left to lm-eval."""
    found: dict[str, TaskName] = {}
    for name in names:
        for one in SHIPPED_TASKS if name == DEFAULT_TASKS else (name,):
            found.setdefault(one, _KNOWN.get(one, TaskName(one, (one,))))
    return list(found.values())


def when_measured(mode: Downstream, names: Iterable[str]) -> Downstream:
    """`mode`, with `AUTO` resolved: every edit where all tasks are the shipped, cheap ones, else suspect edits."""
    if mode is not Downstream.AUTO:
        return mode
    return Downstream.EACH if all(task.shipped for task in expand_tasks(names)) else Downstream.SUSPECT
