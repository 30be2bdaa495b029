"""Models whose blocks lie on several devices.

Embeddings, the last normalisation and the head are on one device, home, and so is every tensor outside the blocks:
token ids, positions, masks, hidden states, logits and labels. Only what runs inside a block is on the block's device:
its weights, what is hooked into it, the keys and values of its attention, and edits of its weights while they are
trained or evaluated side by side.

`EditableModel.run_blocks` moves what a stretch of blocks on one device needs once. Code that calls the library's model
knows nothing of devices, so each block of such a model fetches its inputs by a hook, which finds nothing to move where
they have been moved already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from collapse_tests.errors import InfrastructureError
from collapse_tests.models.families import Family, family_of
from collapse_tests.models.memory import free_bytes, free_memory
from collapse_tests.models.placement import balanced, missing_bytes

__all__ = [
    "Stretch",
    "device_map",
    "devices_of_blocks",
    "fetch_inputs",
    "free_gpus",
    "stretches",
    "without_hooks_of_accelerate",
]

#: A device, and the first and behind the last of some blocks on it.
Stretch = tuple[torch.device, int, int]


def devices_of_blocks(family: Family) -> tuple[torch.device, ...]:
    """The device of each block's first parameter."""
    return tuple(_device(block) for block in family.blocks)


def stretches(devices: Sequence[torch.device], start: int, stop: int) -> Iterator[Stretch]:
    """The blocks `start` to before `stop` in runs on one device each."""
    first = start
    for block in range(start + 1, stop + 1):
        if block == stop or devices[block] != devices[first]:
            yield devices[first], first, block
            first = block


def fetch_inputs(model: nn.Module) -> None:
    """Let every block, and the normalisation after them, move what it is called with to where its weights are."""
    family = family_of(model)
    for module in (*family.blocks, model.get_submodule(family.norm_path)):
        module.register_forward_pre_hook(_fetch, with_kwargs=True)


def _fetch(module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    device = _device(module)
    return _moved(inputs, device), {name: _moved(value, device) for name, value in keywords.items()}


def _moved(value: Any, device: torch.device) -> Any:
    """Tensors, alone or in tuples, on `device`; anything else, such as a store of keys and values, as it is."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    return tuple(_moved(part, device) for part in value) if type(value) is tuple else value


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


# Loading ------------------------------------------------------------------------------------------------------


def free_gpus() -> dict[torch.device, int]:
    """Every GPU and the bytes that new tensors can take there, after unused memory has been given back."""
    free_memory()
    return {device: free_bytes(device) for device in map(_gpu, range(torch.cuda.device_count()))}


def _gpu(index: int) -> torch.device:
    return torch.device("cuda", index)


def device_map(make_empty: Callable[[], nn.Module], free: Mapping[torch.device, int], name: str) -> dict[str, int]:
    """Module path → index of its device, for every module of a model, as `from_pretrained` takes it.

    Args:
        make_empty: makes the model; called with the meta device as default, so that it has no weights.
        free: devices, home first, and the bytes they have.
        name: of the model, for messages.

    Raises:
        InfrastructureError: the weights do not fit; nothing is left to the host's memory or a disk.
    """
    with torch.device("meta"):
        empty = make_empty()
    family = family_of(empty)
    blocks = [_bytes(block) for block in family.blocks]
    rest = _bytes(empty) - sum(blocks)
    indices = balanced(blocks, rest, list(free.values()))
    if indices is None:
        raise InfrastructureError(_too_large(name, blocks, rest, free))
    devices = [device.index or 0 for device in free]
    found = dict.fromkeys(_beside_blocks(empty, family.blocks_path), devices[0])
    return found | {f"{family.blocks_path}.{block}": devices[index] for block, index in enumerate(indices)}


def _beside_blocks(model: nn.Module, blocks_path: str) -> Iterator[str]:
    """Paths of the modules that hold everything but the blocks."""
    above = ""
    for part in blocks_path.split("."):
        for child, _ in model.get_submodule(above).named_children():
            if child != part:
                yield f"{above}.{child}".lstrip(".")
        above = f"{above}.{part}".lstrip(".")


def _bytes(module: nn.Module) -> int:
    """Of all its parameters and buffers, tied ones once."""
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


def _too_large(name: str, blocks: Sequence[int], rest: int, free: Mapping[torch.device, int]) -> str:
    def gigabytes(size: int) -> str:
        return f"{size / 1e9:.1f} GB"

    missing = missing_bytes(blocks, rest, list(free.values()))
    lack = f"{gigabytes(missing)} are missing" if missing else "no split between blocks fits"
    return (
        f"model {name!r} has {gigabytes(sum(blocks) + rest)} of weights and needs room beside them for activations; "
        f"{len(free)} GPUs have {gigabytes(sum(free.values()))} free: {lack}. Free memory on them, take more of them, "
        "or a shorter --dtype such as bfloat16"
    )


def without_hooks_of_accelerate(model: nn.Module) -> None:
    """Take away what `from_pretrained` puts on a model over several devices; `fetch_inputs` does its work.

    Those hooks take the place of `forward`, as fused layers do, and look at the inputs and outputs of every module.
    """
    from accelerate.hooks import remove_hook_from_module  # type: ignore[import-untyped, unused-ignore]

    remove_hook_from_module(model, recurse=True)
    for module in model.modules():
        vars(module).pop("forward", None)  # the class's own, put back as if it were the module's
