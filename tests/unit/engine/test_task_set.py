"""Tasks are loaded once, and so are those that cannot be."""

from __future__ import annotations

import pytest

from collapse_tests.engine import task_set
from collapse_tests.engine.task_set import TaskSet
from collapse_tests.errors import InfrastructureError
from collapse_tests.settings import Downstream, Settings


def test_a_failed_load_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[object] = []

    def load(*arguments: object) -> None:
        tried.append(arguments)
        raise InfrastructureError("no network")

    monkeypatch.setattr(task_set, "load_task", load)
    tasks = TaskSet(Settings(editors=("rome",), tasks=("piqa",), downstream=Downstream.EACH), print)
    raised = []
    for _ in range(2):
        with pytest.raises(InfrastructureError, match="no network") as error:
            tasks.downstream()
        raised.append(error.value)
    assert len(tried) == 1
    assert raised[0] is raised[1]
