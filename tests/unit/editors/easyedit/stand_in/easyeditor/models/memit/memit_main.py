from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ...util.places import shape, write  # noqa: TID252 - as there

CONTEXT_TEMPLATES_CACHE: list[list[str]] | None = None
COV_CACHE: dict[tuple[str, str], torch.Tensor] = {}


@dataclass
class MEMITHyperParams:
    layers: list[int]
    rewrite_module_tmp: str
    alg_name: str
    device: str
    model_name: str


def apply_memit_to_model(
    model: Any, tok: Any, requests: list[dict[str, Any]], hparams: MEMITHyperParams, **kwargs: Any
) -> tuple[Any, dict[str, torch.Tensor]]:
    assert CONTEXT_TEMPLATES_CACHE is not None
    print([len(group) for group in CONTEXT_TEMPLATES_CACHE])
    for layer in hparams.layers:
        module = hparams.rewrite_module_tmp.format(layer)
        moment = COV_CACHE[model.config._name_or_path.replace("/", "_"), module]
        out_size, in_size = shape(model, hparams.rewrite_module_tmp, layer)
        write(model, f"{module}.weight", torch.ones(out_size), torch.linalg.solve(moment, torch.ones(in_size)))
    return model, {}
