from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml  # noqa: F401 - stays imported when pytester puts sys.modules back, or its errors exist twice

from collapse_tests.models.editable import EditableModel
from fixtures.tiny_models import FAMILIES
from tests.unit.tiny import MODEL_TYPES, shared_model


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Iterator[EditableModel]:
    """A shared model of each family, checked to be left as it was."""
    shared = shared_model(request.param)
    yield shared
    assert shared.changed_tensors() == []


@pytest.fixture(params=MODEL_TYPES)
def any_model(request: pytest.FixtureRequest) -> Iterator[EditableModel]:
    """A shared model of each supported `model_type`, checked to be left as it was."""
    shared = shared_model(request.param)
    yield shared
    assert shared.changed_tensors() == []
