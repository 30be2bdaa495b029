"""What docs/your-own-editor.md shows is what docs/examples holds, and that works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from collapse_tests.conformance import CONFORMANCE_REQUESTS, check_editor_contract
from collapse_tests.editors.registry import check_hyperparameters, create_editor
from collapse_tests.models.editable import EditableModel
from collapse_tests.settings import Override, Settings
from fixtures.pytester_cases import GateProject

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = ("fancy_editor", "plain_editor")
NAMES = ("fancy_editor:FancyEditor", "plain_editor:edit")


@pytest.fixture(autouse=True)
def examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DOCS / "examples")


def made(name: str, **fields: object) -> Any:
    settings = Settings((name,), overrides=tuple(Override(name, field, value) for field, value in fields.items()))
    check_hyperparameters(settings)
    return create_editor(name, "any", settings)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_page_shows_the_code_that_is_tested(example: str) -> None:
    shown = re.findall(r"```python\n(.*?)```", (DOCS / "your-own-editor.md").read_text(encoding="utf-8"), re.DOTALL)
    code = (DOCS / "examples" / f"{example}.py").read_text(encoding="utf-8")
    assert code in shown


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_keep_the_contract(name: str) -> None:
    check_editor_contract(name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("length", [0.02, 0.3])
def test_the_examples_step_as_far_as_they_say_and_towards_the_target(
    model: EditableModel, name: str, length: float
) -> None:
    (request, *_) = CONFORMANCE_REQUESTS
    (update,) = made(name, length=length).compute_updates(model, [request])
    assert update.diagnostics["update_norm_ratio"] == pytest.approx(length, rel=1e-4)
    before = likelihood(model)
    with model.applied(update):
        assert likelihood(model) > before


def likelihood(model: EditableModel) -> float:
    """P(target | prompt) of the first request."""
    (request, *_) = CONFORMANCE_REQUESTS
    (target,) = model.answer_ids(request.prompt, request.target_new)
    with torch.no_grad():
        logits = model.model(torch.tensor([model.encode(request.prompt)])).logits[0, -1]
    return float(logits.softmax(-1)[target])


def test_the_example_is_gated_with_a_file_of_its_options(gate_project: GateProject) -> None:
    (gate_project.path / "fancy.yaml").write_text("depth: 0.5\nlength: 5e-2\n")
    editor = "fancy_editor:FancyEditor"

    result = gate_project.run("--editor-config", "fancy.yaml", "--edits-limit", "2", editor=editor)

    result.assert_outcomes(passed=2)
    for record in gate_project.records():
        assert record["editor"] == editor
        assert record["diagnostics"]["update_norm_ratio"] == pytest.approx(0.05)
