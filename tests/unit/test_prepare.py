"""`collapse-prepare`: one-off work ahead of the runs, by the same names and settings."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from collapse_tests.cache import CACHE_VARIABLE, cache_dir
from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.mend import Mend
from collapse_tests.editors.mend import editor as mend_editor
from collapse_tests.editors.protocol import EditorContext
from collapse_tests.editors.registry import create_editor
from collapse_tests.errors import UsageError
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.loading import load_model
from collapse_tests.prepare import app
from collapse_tests.settings import Override, Settings
from collapse_tests.weight_update import WeightUpdate
from tests.unit.editors.mend.tiny import training_requests

SMALL = {"validation_requests": 4, "steps": 2, "rank": 4, "blocks": 2}


class Plain:
    """An editor without preparation."""

    name = "plain"

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        return [WeightUpdate({}) for _ in requests]


class Careless:
    """An editor whose preparation leaves the model changed."""

    name = "careless"

    def prepare(self, model: EditableModel, context: EditorContext) -> None:
        context.progress("spoiling", 0, 1)
        model.parameter(model.mlp_output_weight(0)).mul_(2)

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        return [WeightUpdate({}) for _ in requests]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


def prepare(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, " ".join(result.output.split())


def test_help_imports_no_framework() -> None:
    code = (
        "import sys\n"
        "from collapse_tests.prepare import app\n"
        "app(['--help'], standalone_mode=False)\n"
        "print(sorted({'torch', 'transformers', 'numpy'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--model" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_run_finds_what_was_prepared(
    tmp_path: Path, saved_tiny_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = str(saved_tiny_model("llama"))
    edits = tmp_path / "edits.jsonl"
    edits.write_text("\n".join(json.dumps(asdict(request)) for request in training_requests()), encoding="utf-8")
    given = [f"--set=mend.{field}={value}" for field, value in SMALL.items()]

    code, output = prepare("mend", "--model", model, "--edits", str(edits), "--seed", "5", *given)

    assert code == 0, output
    (stored,) = (cache_dir() / "mend").glob("*/hypernetwork.safetensors")
    assert f"mend is prepared for {model}" in output
    assert str(stored) in output
    assert "training" in output

    def never(*arguments: Any, **more: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(mend_editor, "train", never)
    overrides = [Override("mend", field, value) for field, value in SMALL.items()]
    overrides.append(Override("mend", "training_requests", [str(edits)]))
    settings = Settings(("mend",), (model,), seed=5, overrides=tuple(overrides))
    editor = create_editor("mend", model, settings)
    assert isinstance(editor, Mend)
    loaded = load_model(model, settings, lambda line: None)
    editor.prepare(loaded, EditorContext(5, cache_dir()))
    assert editor.prepared_path == stored
    assert len(editor.compute_updates(loaded, training_requests(2))) == 2


def test_the_command_trains_where_a_run_may_not(tmp_path: Path, saved_tiny_model: Callable[[str], Path]) -> None:
    edits = tmp_path / "edits.jsonl"
    edits.write_text("\n".join(json.dumps(asdict(request)) for request in training_requests()), encoding="utf-8")
    given = [f"--set=mend.{field}={value}" for field, value in (SMALL | {"train_on_first_use": "false"}).items()]
    code, output = prepare("mend", "--model", str(saved_tiny_model("gpt2")), "--edits", str(edits), *given)
    assert code == 0, output


def test_other_editors_are_prepared_too(saved_tiny_model: Callable[[str], Path]) -> None:
    code, output = prepare("rome", "--model", str(saved_tiny_model("gpt2")))
    assert code == 0, output
    assert list((cache_dir() / "contexts").glob("*.json"))
    assert str(cache_dir()) in output


def test_a_large_model_is_spread_as_in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, settings: Settings, say: Callable[[str], None]) -> None:
        raise UsageError(f"spread: {settings.device_map}")

    monkeypatch.setattr("collapse_tests.models.placement.find_spec", lambda package: package)
    monkeypatch.setattr("collapse_tests.models.loading.load_model", load)

    assert "spread: auto" in prepare("rome", "--device-map", "auto")[1]
    assert "spread: none" in prepare("rome")[1]


def test_an_editor_without_preparation_is_told_so() -> None:
    assert prepare(f"{__name__}:Plain") == (0, f"{__name__}:Plain needs no preparation")


def test_a_preparation_that_changes_the_model_fails(saved_tiny_model: Callable[[str], Path]) -> None:
    code, output = prepare(f"{__name__}:Careless", "--model", str(saved_tiny_model("gpt2")))
    assert code == 1
    assert "left the model changed" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mendd"], "'mendd' is not known: did you mean 'mend'"),
        (["mend", "--model", "no-such"], "'no-such'"),
        (["mend", "--seed", "-1"], "--seed: '-1' is no seed"),
        (["mend", "--device", "tpu"], "--device: 'tpu' is no device"),
        (["mend", "--device-map", "half"], "--device-map: 'half' is no device map"),
        (["mend", "--device-map", "auto", "--device", "cpu"], "--device cpu is one device"),
        (["mend", "--dtype", "int8"], "--dtype: 'int8' is no dtype"),
        (["mend", "--set", "mend.rank"], "--set: 'mend.rank' is not of the form"),
        (["mend", "--set", "mend.rank=0"], "--set mend.rank=0"),
        (["mend", "--set", "rome.steps=2"], "the editor here is mend"),
        (["mend", "--edits", "nowhere.json"], "'nowhere.json' is no file"),
        (["rome", "--edits", "normal"], "'rome' is not trained on requests"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_loaded(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*arguments: Any, **more: Any) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("collapse_tests.models.loading.load_model", never)
    code, output = prepare(*arguments)
    assert code == 2
    assert "error:" in output
    assert message in output
