"""From a model specification to an editable model on a device, or on several."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from collapse_tests.errors import InfrastructureError, UsageError, first_line
from collapse_tests.models.devices import device_map, fetch_inputs, free_gpus, without_hooks_of_accelerate
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.placement import check_device_map
from collapse_tests.models.precision import MatmulPrecision, resolve_precision
from collapse_tests.models.specs import FAMILIES, ModelSpec, resolve_spec
from collapse_tests.settings import Settings

__all__ = ["load_model", "resolve_device"]


def resolve_device(name: str) -> torch.device:
    """The device behind a `--device` value.

    Raises:
        UsageError: a CUDA device that this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {name}: this machine has {torch.cuda.device_count()} usable CUDA devices; use cpu or auto"
        )
    return device


def load_model(name: str, settings: Settings, say: Callable[[str], None]) -> EditableModel:
    """Load the model behind a `--model` value.

    Weights are read from safetensors only and no code of the model's repository is run.

    Args:
        name: a known name, a directory, or a hub id.
        settings: device, device map, dtype and matmul precision.
        say: takes one line of progress at a time.

    Raises:
        UsageError: the name or the device does not exist, or the family is not supported.
        InfrastructureError: it could not be fetched or loaded, or does not fit the GPUs that it is to be spread over.
    """
    spec = resolve_spec(name)
    check_device_map(settings)
    device = resolve_device(settings.device)
    spread = settings.device_map == "auto"
    if spread and device.type != "cuda":
        raise UsageError("--device-map auto: this machine has no usable CUDA device to spread over; leave it out")
    source = _source(spec, say)
    dtype: torch.dtype = getattr(torch, settings.dtype)
    precision = resolve_precision(settings.matmul_precision, device, dtype)
    rounded = "" if precision is MatmulPrecision.FLOAT32 else f", products in {precision}"
    place = f"{torch.cuda.device_count()} GPUs" if spread else str(device)
    say(f"loading {name} on {place} in {settings.dtype}{rounded}")
    model, tokenizer = _from_pretrained(spec, source, dtype, spread=spread)
    return EditableModel(model if spread else model.to(device), tokenizer, name, precision)


def _source(spec: ModelSpec, say: Callable[[str], None]) -> str:
    if spec.source is not None:
        return spec.source
    from collapse_tests.models.embedded import ensure_default_model

    return str(ensure_default_model(say))


def _from_pretrained(spec: ModelSpec, source: str, dtype: torch.dtype, *, spread: bool) -> tuple[Any, Any]:
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    safe: dict[str, Any] = {"trust_remote_code": False, "local_files_only": spec.source is None or spec.local}
    try:
        config = AutoConfig.from_pretrained(source, **safe)
        if config.model_type not in FAMILIES:
            raise UsageError(
                f"--model {spec.name!r} has model_type {config.model_type!r}; "
                f"supported are {', '.join(sorted(FAMILIES))}"
            )
        tokenizer = AutoTokenizer.from_pretrained(source, **safe)
        places: dict[str, Any] = {}
        if spread:
            make_empty = partial(AutoModelForCausalLM.from_config, config, dtype=dtype)
            places["device_map"] = device_map(make_empty, free_gpus(), spec.name)
        # Without `dtype` the checkpoint's own type would be taken, half precision for many.
        model, found = AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype, use_safetensors=True, output_loading_info=True, **places, **safe
        )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
        raise InfrastructureError(
            f"model {spec.name!r} could not be loaded from {source}: {first_line(error)}. "
            "Check the name and the network, or give the path of a local copy to --model"
        ) from error
    if found["missing_keys"]:  # the library leaves those random
        missing = ", ".join(sorted(found["missing_keys"])[:3])
        raise InfrastructureError(
            f"model {spec.name!r} could not be loaded from {source}: its weights lack {missing}; save the model again"
        )
    if spread:
        without_hooks_of_accelerate(model)
        fetch_inputs(model)
    return model, tokenizer
