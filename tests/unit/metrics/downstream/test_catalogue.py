"""Names of tasks stand for the study's tasks, the shipped ones, or whatever lm-eval calls so."""

from __future__ import annotations

import pytest

from collapse_tests.metrics.downstream.catalogue import SHIPPED_FOLDER, SHIPPED_TASKS, expand_tasks, when_measured
from collapse_tests.settings import Downstream


def test_default_is_the_shipped_tasks() -> None:
    assert [task.name for task in expand_tasks(["default"])] == list(SHIPPED_TASKS)
    for name in SHIPPED_TASKS:
        assert (SHIPPED_FOLDER / f"{name}.yaml").is_file()


def test_a_task_asked_for_twice_is_there_once() -> None:
    names = [task.name for task in expand_tasks(["piqa", "default", SHIPPED_TASKS[0], "piqa"])]
    assert names == ["piqa", *SHIPPED_TASKS]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("lambada", ("lambada_standard",)),
        ("lambada_openai", ("lambada_openai",)),
        (
            "mmlu_sub",
            ("mmlu_formal_logic", "mmlu_public_relations", "mmlu_college_physics", "mmlu_global_facts"),
        ),
        ("arc_easy", ("arc_easy",)),
    ],
)
def test_parts(name: str, parts: tuple[str, ...]) -> None:
    (task,) = expand_tasks([name])
    assert (task.name, task.parts) == (name, parts)


@pytest.mark.parametrize(
    ("mode", "names", "expected"),
    [
        (Downstream.AUTO, ["default"], Downstream.EACH),
        (Downstream.AUTO, [SHIPPED_TASKS[1]], Downstream.EACH),
        (Downstream.AUTO, ["default", "piqa"], Downstream.SUSPECT),
        (Downstream.NEVER, ["default"], Downstream.NEVER),
        (Downstream.EACH, ["piqa"], Downstream.EACH),
    ],
)
def test_every_edit_is_measured_by_default_where_that_is_cheap(
    mode: Downstream, names: list[str], expected: Downstream
) -> None:
    assert when_measured(mode, names) is expected
