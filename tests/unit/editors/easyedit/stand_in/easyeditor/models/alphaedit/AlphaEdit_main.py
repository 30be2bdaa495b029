# ruff: noqa: N999 - named as there
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...util.places import write  # noqa: TID252 - as there

CONTEXT_TEMPLATES_CACHE: list[list[str]] | None = None
COV_CACHE: dict[tuple[str, str], torch.Tensor] = {}
P_loaded = False
cache_c_new = False
P = cache_c = torch.zeros(0, 0, 0)


@dataclass
class AlphaEditHyperParams:
    layers: list[int]
    nullspace_threshold: float
    P_loc: str
    rewrite_module_tmp: str
    alg_name: str
    device: str
    model_name: str


def apply_AlphaEdit_to_model(  # noqa: N802 - as there
    model: Any, tok: Any, requests: list[dict[str, Any]], hparams: AlphaEditHyperParams, **kwargs: Any
) -> tuple[Any, dict[str, torch.Tensor]]:
    if not Path(hparams.P_loc).exists() or not P_loaded or not cache_c_new:
        raise FileNotFoundError(hparams.P_loc)
    for index, layer in enumerate(hparams.layers):
        seen = float(cache_c[index].trace())
        direction = P[index] @ torch.ones(P.shape[1]) + seen
        module = hparams.rewrite_module_tmp.format(layer)
        write(model, f"{module}.weight", 0.1 * torch.ones(model.config.hidden_size), direction)
        cache_c[index] += torch.eye(P.shape[1])
    return model, {}
