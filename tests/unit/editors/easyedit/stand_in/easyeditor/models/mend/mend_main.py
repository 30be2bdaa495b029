from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import hydra  # type: ignore[import-not-found] # noqa: F401 - never installed for the tests, nor used
import torch

from ...trainer import MEND  # type: ignore[attr-defined] # noqa: TID252 - as there


@dataclass
class MENDHyperParams:
    inner_params: list[str]
    archive: Any
    alg_name: str
    device: str
    model_name: str
    half: bool = False


class MendRewriteExecutor:
    def __init__(self) -> None:
        self.model: Any = None

    def apply_to_model(
        self, model: Any, tok: Any, requests: list[dict[str, Any]], hparams: MENDHyperParams, **kwargs: Any
    ) -> tuple[Any, dict[str, torch.Tensor]]:
        self.model = self.model or model  # the first one is kept
        self.model.handles = [self.model.register_forward_hook(lambda *_: None)]
        print(f"padding {tok.padding_side}")
        for name in hparams.inner_params:
            with torch.no_grad():
                self.model.get_parameter(name).mul_(1 + MEND.scale)
        return self.model, {}
