"""Model names to specifications: what `--model` accepts, known before any framework is imported."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from collapse_tests.errors import UsageError
from collapse_tests.settings import DEFAULT_MODEL

__all__ = ["FAMILIES", "KNOWN_MODELS", "ModelSpec", "resolve_spec"]

#: `model_type` of a Hugging Face config → architecture family, the adapter that can run it block by block.
FAMILIES = {
    "gpt2": "gpt2",
    "gptj": "gptj",
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "llama",
}

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Where a model comes from.

    Attributes:
        name: the name the user gave; selects hyper-parameters.
        source: a hub id, a local directory, or None for the embedded default model.
        local: whether `source` is a directory.
    """

    name: str
    source: str | None
    local: bool = False


KNOWN_MODELS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec(DEFAULT_MODEL, None),
        ModelSpec("gpt2-xl", "openai-community/gpt2-xl"),
        ModelSpec("gpt-j-6b", "EleutherAI/gpt-j-6b"),
        ModelSpec("llama2-7b", "meta-llama/Llama-2-7b-hf"),
    )
}


def resolve_spec(name: str) -> ModelSpec:
    """The specification behind a `--model` value.

    A known name wins over a directory of the same name; a directory wins over a hub id.

    Raises:
        UsageError: nothing matches, or the directory holds no model of a supported family.
    """
    if name in KNOWN_MODELS:
        return KNOWN_MODELS[name]
    directory = Path(name).expanduser()
    if directory.is_dir():
        _check_directory(name, directory)
        return ModelSpec(name, str(directory), local=True)
    if directory.exists():
        raise UsageError(f"--model {name!r} is a file; give the directory that holds its config.json and weights")
    if _HUB_ID.fullmatch(name) and not name.startswith("."):
        return ModelSpec(name, name)
    close = difflib.get_close_matches(name, KNOWN_MODELS, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise UsageError(
        f"--model {name!r} is not known: {hint}"
        f"Give one of {', '.join(sorted(KNOWN_MODELS))}, a local directory, or a hub id such as org/name"
    )


def _check_directory(name: str, directory: Path) -> None:
    """Refuse early what could only fail after minutes of loading."""
    config = directory / "config.json"
    if not config.is_file():
        raise UsageError(f"--model {name!r} has no config.json; give a directory saved with save_pretrained")
    try:
        model_type = json.loads(config.read_text(encoding="utf-8")).get("model_type")
    except (ValueError, AttributeError) as error:
        raise UsageError(f"--model {name!r}: {config} is not valid JSON ({error}); save the model again") from None
    if model_type not in FAMILIES:
        raise UsageError(f"--model {name!r} has model_type {model_type!r}; supported are {', '.join(sorted(FAMILIES))}")
    if not any(directory.glob("*.safetensors")):
        raise UsageError(
            f"--model {name!r} has no *.safetensors file; weights are read from safetensors only, "
            "save the model again with save_pretrained"
        )
