"""EasyEdit's hyper-parameter files: found by model name, or taken from the family and fitted to the model."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from collapse_tests.editors.easyedit.algorithms import Algorithm
from collapse_tests.editors.easyedit.installation import Installation
from collapse_tests.errors import UsageError
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.specs import FAMILIES
from collapse_tests.settings import Override

__all__ = ["OWN_FIELDS", "build_hyperparameters", "check_fields", "given_fields", "model_label"]

#: Fields of the editor itself and not of EasyEdit's object: the base file, and where second moments come from.
OWN_FIELDS = ("hparams", "corpus", "moment_tokens", "statistics")

#: Family → (file that stands for it, its model's number of blocks), the most alike first.
_FILES = {
    "gpt2": (("gpt2-xl", 48),),
    "gptj": (("gpt-j-6b", 28),),
    "llama": (
        ("llama-7b", 32),
        ("llama3-8b", 32),
        ("llama3-8b-instruct", 32),
        ("mistral-7b", 32),
        ("qwen2.5-7b", 28),
    ),
}

#: Model name → file of that very model, where the two differ.
_ALIASES = {"llama2-7b": "llama-7b"}

#: Part of a name by which EasyEdit tells families apart, in the order of its own tests.
_FAMILY_MARKS = {"gpt2": "gpt2", "gptj": "gpt-j-6b", "llama": "llama"}

_INDEX = re.compile(r"(?<=\.)\d+(?=\.)|(?<=\[)\d+(?=\])")


@dataclass(frozen=True, slots=True)
class _Base:
    """A hyper-parameter file.

    Attributes:
        path: the file.
        n_blocks: depth that its layer indices are meant for, or None if they are meant for the model at hand.
    """

    path: Path
    n_blocks: int | None


def given_fields(name: str, overrides: Sequence[Override]) -> dict[str, Override]:
    """Fields that the user set for editor `name`, by field; the last one of a field wins."""
    return {override.field: override for override in overrides if override.editor == name}


def check_fields(algorithm: Algorithm, main: Any, given: Mapping[str, Override]) -> None:
    """Refuse fields that the algorithm does not have.

    Raises:
        UsageError: there is one.
    """
    known = [*(field.name for field in dataclasses.fields(getattr(main, algorithm.schema))), *OWN_FIELDS]
    for name, override in given.items():
        if name not in known:
            raise UsageError(f"{override.place}: there is no such field; give one of {', '.join(known)}")


def build_hyperparameters(
    algorithm: Algorithm, main: Any, installation: Installation, model: EditableModel, given: Mapping[str, Override]
) -> Any:
    """EasyEdit's own hyper-parameter object of `algorithm` for `model`.

    The file's values come first, fitted to the model's depth and module names; then the user's, as they are; then
    device and model name, which are the run's.

    Raises:
        UsageError: there is no file for this model's family, or a field is missing.
    """
    fields = {field.name: field for field in dataclasses.fields(getattr(main, algorithm.schema))}
    base = _base(algorithm, installation, model, given.get("hparams"))
    values = _fitted(_read(base.path), base, model)
    values |= {name: override.value for name, override in given.items() if name in fields}
    values |= {"device": str(model.device), "model_name": model_label(model)}
    values |= dict.fromkeys(("model_parallel", "half", "fp16"), False)
    if "batch_size_once" in fields:
        values |= {"batch_size": 1, "batch_size_once": 1}  # requests come one by one
    required = [name for name, field in fields.items() if _is_required(field) and name not in values]
    if required:
        raise UsageError(f"{base.path}: the field {required[0]!r} is missing; set it there or with --set")
    return getattr(main, algorithm.schema)(**{name: value for name, value in values.items() if name in fields})


def model_label(model: EditableModel) -> str:
    """The model's name, with what EasyEdit recognises its family by: several methods look for that."""
    mark = _FAMILY_MARKS[FAMILIES[model.config.model_type]]
    return model.name if mark in model.name.lower() else f"{mark}-{model.name}"


def _base(algorithm: Algorithm, installation: Installation, model: EditableModel, given: Override | None) -> _Base:
    if given is not None:
        path = Path(str(given.value)).expanduser()
        if not path.is_file():
            raise UsageError(
                f"{given.place}={given.value}: there is no such file; give a YAML file of EasyEdit's fields"
            )
        return _Base(path, None)
    files = _files(algorithm, installation)
    own = _ALIASES.get(model.name.lower(), Path(model.name).name.lower())
    if own in files:
        return _Base(files[own], None)
    family = FAMILIES[model.config.model_type]
    for name, n_blocks in _FILES[family]:
        if name in files:
            return _Base(files[name], n_blocks)
    raise UsageError(
        f"EasyEdit in {installation.package.parent} has no hyper-parameters of {algorithm.name} for the "
        f"{family} family; give a file with --set easyedit:{algorithm.name}.hparams=FILE.yaml"
    )


def _files(algorithm: Algorithm, installation: Installation) -> dict[str, Path]:
    """Lower-case model name → file, of one algorithm."""
    folders = [installation.hparams / algorithm.folder]
    if not folders[0].is_dir() and installation.hparams.is_dir():
        folders = [each for each in installation.hparams.iterdir() if each.name.lower() == algorithm.folder.lower()]
    return {file.stem.lower(): file for folder in folders for file in sorted(folder.glob("*.yaml"))}


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: {' '.join(str(error).split())}; give a YAML file of fields") from None
    if not isinstance(values, dict):
        raise UsageError(f"{path} holds no fields; give a YAML file of EasyEdit's")
    return {str(name): _number(value) for name, value in values.items()}


def _number(value: Any) -> Any:
    """YAML 1.1 takes 5e-4 for text, and EasyEdit every such text for a number."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _fitted(values: dict[str, Any], base: _Base, model: EditableModel) -> dict[str, Any]:
    """Values with layer indices scaled by depth, the loss at the last block, and a head that is there."""
    fitted = dict(values)
    if base.n_blocks is not None:
        if isinstance(layers := values.get("layers"), list):
            fitted["layers"] = _unique(_scaled(int(layer), base.n_blocks, model.n_blocks) for layer in layers)
        if isinstance(inner := values.get("inner_params"), list):
            fitted["inner_params"] = _unique(_rescaled(str(name), base.n_blocks, model.n_blocks) for name in inner)
        if "v_loss_layer" in values:
            fitted["v_loss_layer"] = model.n_blocks - 1
    if "lm_head_module" in values:
        fitted["lm_head_module"] = _head(model)
    return fitted


def _unique(values: Any) -> list[Any]:
    return list(dict.fromkeys(values))


def _scaled(index: int, n_blocks: int, target: int) -> int:
    return min(round(index * target / n_blocks), target - 1)


def _rescaled(name: str, n_blocks: int, target: int) -> str:
    return _INDEX.sub(lambda match: str(_scaled(int(match[0]), n_blocks, target)), name, count=1)


def _head(model: EditableModel) -> str:
    """Module that holds the head's weight; the embedding's where the two are tied, as its name is then the only one."""
    modules: dict[int, str] = {id(module): name for name, module in model.model.named_modules()}
    head, embedding = model.model.get_output_embeddings(), model.model.get_input_embeddings()
    return modules[id(embedding if head.weight is embedding.weight else head)]


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
