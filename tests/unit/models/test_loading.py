from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from collapse_tests.errors import InfrastructureError, UsageError
from collapse_tests.models.devices import device_map, without_hooks_of_accelerate
from collapse_tests.models.loading import load_model, resolve_device
from collapse_tests.models.specs import FAMILIES, KNOWN_MODELS, ModelSpec, resolve_spec
from collapse_tests.settings import DEFAULT_MODEL, Settings
from fixtures.tiny_models import make_model

SETTINGS = Settings(editors=("rome",), device="cpu")

Save = Callable[[str], Path]


def load(directory: Path, device: str = "cpu") -> object:
    return load_model(str(directory), Settings(editors=("rome",), device=device), lambda line: None)


@pytest.mark.parametrize("family", ["gpt2", "gptj", "llama"])
def test_a_saved_model_is_loaded_as_it_was(saved_tiny_model: Save, family: str) -> None:
    directory, said = saved_tiny_model(family), list[str]()
    model = load_model(str(directory), SETTINGS, said.append)
    assert model.digest == make_model(family).digest
    assert model.name == str(directory)
    assert model.encode("The capital of Norway") == make_model(family).encode("The capital of Norway")
    assert not model.model.training
    assert not any(parameter.requires_grad for parameter in model.model.parameters())
    assert [line for line in said if "float32" in line and "cpu" in line]


def test_the_dtype_asked_for_is_taken(saved_tiny_model: Save) -> None:
    model = load_model(str(saved_tiny_model("llama")), Settings(("rome",), device="cpu", dtype="bfloat16"), print)
    assert model.dtype == torch.bfloat16
    assert model.digest != make_model("llama").digest


def copied(saved_tiny_model: Save, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved_tiny_model("llama"), tmp_path / "copy"))


def test_pickled_weights_are_not_read(saved_tiny_model: Save, tmp_path: Path) -> None:
    directory = copied(saved_tiny_model, tmp_path)
    (directory / "model.safetensors").unlink()
    torch.save({}, directory / "pytorch_model.bin")
    with pytest.raises(UsageError, match=r"no \*\.safetensors file"):
        load(directory)


def test_an_unsupported_family_is_named_with_the_supported_ones(saved_tiny_model: Save, tmp_path: Path) -> None:
    directory = copied(saved_tiny_model, tmp_path)
    (directory / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UsageError, match=r"model_type 'bert'; supported are gpt2, gptj, llama, mistral, qwen2"):
        load(directory)


@pytest.mark.parametrize("text", ["{half", "[]", "3"])
def test_a_config_that_is_no_json_object_is_refused(saved_tiny_model: Save, tmp_path: Path, text: str) -> None:
    directory = copied(saved_tiny_model, tmp_path)
    (directory / "config.json").write_text(text)
    with pytest.raises(UsageError, match=r"config\.json is not valid JSON"):
        load(directory)


def test_a_directory_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no config\.json"):
        load(tmp_path)


def test_a_file_is_no_model(saved_tiny_model: Save) -> None:
    with pytest.raises(UsageError, match="is a file; give the directory"):
        load(saved_tiny_model("llama") / "model.safetensors")


@pytest.mark.parametrize("content", [b"", b"not tensors at all", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_damaged_weights_are_a_failure_of_the_infrastructure(
    saved_tiny_model: Save, tmp_path: Path, content: bytes
) -> None:
    directory = copied(saved_tiny_model, tmp_path)
    (directory / "model.safetensors").write_bytes(content)
    with pytest.raises(InfrastructureError, match="could not be loaded from"):
        load(directory)


def test_a_missing_tokenizer_is_a_failure_of_the_infrastructure(saved_tiny_model: Save, tmp_path: Path) -> None:
    directory = copied(saved_tiny_model, tmp_path)
    for file in directory.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(InfrastructureError, match="could not be loaded from"):
        load(directory)


def test_a_cuda_device_that_is_not_there_is_refused(saved_tiny_model: Save) -> None:
    with pytest.raises(UsageError, match=r"--device cuda:99: this machine has \d+ usable CUDA devices"):
        load(saved_tiny_model("llama"), device="cuda:99")


def test_devices_by_name() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="0 usable CUDA devices; use cpu or auto"):
            resolve_device("cuda")


def test_known_names_hub_ids_and_directories(saved_tiny_model: Save) -> None:
    assert resolve_spec(DEFAULT_MODEL) == ModelSpec(DEFAULT_MODEL, None)
    assert resolve_spec("gpt2-xl").source == "openai-community/gpt2-xl"
    assert resolve_spec("some-org/some.model") == ModelSpec("some-org/some.model", "some-org/some.model")
    directory = str(saved_tiny_model("gpt2"))
    assert resolve_spec(directory) == ModelSpec(directory, directory, local=True)


def test_a_misspelt_name_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match="'gpt2-x' is not known: did you mean 'gpt2-xl'") as caught:
        resolve_spec("gpt2-x")
    assert all(name in str(caught.value) for name in KNOWN_MODELS)


@pytest.mark.parametrize("name", ["", "./no/such/directory", "no such/model", "/no/such", "a/b/c"])
def test_names_that_can_be_nothing_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        resolve_spec(name)


@pytest.mark.parametrize("model_type", sorted(FAMILIES))
def test_every_supported_model_type_can_be_edited(model_type: str) -> None:
    assert make_model(model_type).config.model_type == model_type


# Over several devices -----------------------------------------------------------------------------------------


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that says it has two GPUs, whose places are the processor's."""
    free = {torch.device("cuda", index): 10**9 for index in (0, 1)}

    def on_processor(*arguments: Any) -> dict[str, str]:
        return dict.fromkeys(device_map(*arguments), "cpu")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("collapse_tests.models.loading.free_gpus", lambda: free)
    monkeypatch.setattr("collapse_tests.models.loading.device_map", on_processor)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("family", ["gpt2", "gptj", "llama"])
def test_a_model_loaded_by_a_map_is_the_same_model(saved_tiny_model: Save, family: str) -> None:
    said: list[str] = []
    settings = Settings(("rome",), device_map="auto", matmul_precision="float32")
    model = load_model(str(saved_tiny_model(family)), settings, said.append)
    ids = torch.tensor([[5, 9, 40, 33]])

    assert model.digest == make_model(family).digest
    assert [line for line in said if "2 GPUs" in line]
    assert all(block._forward_pre_hooks for block in model.family.blocks)
    with torch.no_grad():
        torch.testing.assert_close(model.model(ids).logits, make_model(family).model(ids).logits)


def test_hooks_of_accelerate_do_not_stay() -> None:
    from accelerate import dispatch_model  # type: ignore[import-untyped, unused-ignore]

    model = make_model("llama").model
    attributes = {name: set(vars(module)) for name, module in model.named_modules()}
    dispatch_model(model, {"": "cpu"}, force_hooks=True)
    assert hasattr(model, "_hf_hook")
    without_hooks_of_accelerate(model)
    left = {name: set(vars(module)) - attributes[name] for name, module in model.named_modules()}
    assert {name for names in left.values() for name in names} <= {"hf_device_map"}


def test_a_map_needs_a_gpu(saved_tiny_model: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="--device-map auto: this machine has no usable CUDA device"):
        load_model(str(saved_tiny_model("llama")), Settings(("rome",), device_map="auto"), print)
