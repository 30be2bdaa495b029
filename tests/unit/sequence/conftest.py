from __future__ import annotations

from collections.abc import Iterator

import pytest

from collapse_tests.records import TaskResult, TaskVerdict
from fixtures.tiny_models import FAMILIES
from tests.unit.tiny import shared_model


@pytest.fixture(autouse=True)
def _models_are_left_as_found() -> Iterator[None]:
    yield
    for family in FAMILIES:
        assert shared_model(family).changed_tensors() == []


@pytest.fixture
def result() -> TaskResult:
    """A task that a model passes."""
    return TaskResult("words", "acc", 100, 0.9, 0.8, 0.5, 1e-9, 12, 2, 0.01, TaskVerdict.ABOVE)
