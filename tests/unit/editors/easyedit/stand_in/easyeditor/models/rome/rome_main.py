from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ...util.places import shape, write  # noqa: TID252 - as there

CONTEXT_TEMPLATES_CACHE: list[str] | None = None


@dataclass
class ROMEHyperParams:
    layers: list[int]
    v_lr: float
    v_loss_layer: int
    context_template_length_params: list[list[int]]
    rewrite_module_tmp: str
    lm_head_module: str
    alg_name: str
    device: str
    model_name: str
    mom2_adjustment: bool = False
    model_parallel: bool = False


def apply_rome_to_model(
    model: Any,
    tok: Any,
    request: list[dict[str, Any]],
    hparams: ROMEHyperParams,
    copy: bool = False,
    return_orig_weights: bool = False,
    keep_original_weight: bool = False,
    **kwargs: Any,
) -> tuple[Any, dict[str, torch.Tensor]]:
    global CONTEXT_TEMPLATES_CACHE  # noqa: PLW0603 - as there
    if CONTEXT_TEMPLATES_CACHE is None:
        CONTEXT_TEMPLATES_CACHE = ["{}", "sampled. {}"]
    print(f"templates {CONTEXT_TEMPLATES_CACHE}")
    print(f"padding {tok.padding_side}, called {model.config._name_or_path}, head {hparams.lm_head_module}")
    name = f"{hparams.rewrite_module_tmp.format(hparams.layers[0])}.weight"
    originals = {name: model.get_parameter(name).detach().clone()}
    out_size, in_size = shape(model, hparams.rewrite_module_tmp, hparams.layers[0])
    first = tok.encode(request[0]["subject"])[0]
    write(model, name, hparams.v_lr * torch.linspace(-1, 1, out_size), torch.linspace(0, 0.01 * first, in_size))
    return model, originals if return_orig_weights else {}
