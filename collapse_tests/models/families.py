"""One adapter per architecture family: where things are, and how to run the blocks one by one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from collapse_tests.models.attention import KeyValues
from collapse_tests.models.specs import FAMILIES

__all__ = ["Family", "family_of"]

Block = Callable[[torch.Tensor], torch.Tensor]


class Family(ABC):
    """How one architecture family lays out its modules.

    Args:
        model: a Hugging Face causal language model of this family.
    """

    #: Path of the list of blocks, and of the MLP and its output projection inside a block.
    blocks_path: str
    mlp_path = "mlp"
    mlp_output_path: str

    def __init__(self, model: nn.Module) -> None:
        self.model: Any = model

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks, in order."""
        blocks = self.model.get_submodule(self.blocks_path)
        assert isinstance(blocks, nn.ModuleList)
        return blocks

    def mlp(self, block: int) -> str:
        """Module path of the MLP of `block`."""
        return f"{self.blocks_path}.{block}.{self.mlp_path}"

    def mlp_output(self, block: int) -> str:
        """Module path of the MLP output projection of `block`, the matrix locate-then-edit methods change."""
        return f"{self.blocks_path}.{block}.{self.mlp_output_path}"

    @abstractmethod
    def embed(self, input_ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Input of block 0, (rows, length, hidden), for ids and absolute positions of shape (rows, length)."""

    @abstractmethod
    def runner(
        self, hidden: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None, keys: KeyValues | None
    ) -> Callable[[nn.Module, torch.Tensor], torch.Tensor]:
        """A function that runs one block, with what all blocks share (rotary angles) computed once."""

    @abstractmethod
    def final_norm(self, hidden: torch.Tensor) -> torch.Tensor:
        """The normalisation between the last block and the head."""

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits (..., vocabulary) of hidden states after the last block (..., hidden)."""
        logits: torch.Tensor = self.model.get_output_embeddings()(self.final_norm(hidden))
        return logits


class GPT2Family(Family):
    """GPT-2: learned positions, Conv1D layers (weights stored transposed)."""

    blocks_path = "transformer.h"
    mlp_output_path = "mlp.c_proj"

    def embed(self, input_ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        transformer = self.model.transformer
        embedded: torch.Tensor = transformer.wte(input_ids) + transformer.wpe(positions)
        return embedded

    def runner(
        self,
        hidden: torch.Tensor,
        positions: torch.Tensor,
        mask: torch.Tensor | None,
        keys: KeyValues | None,
    ) -> Callable[[nn.Module, torch.Tensor], torch.Tensor]:
        return lambda block, states: _states(block(states, past_key_values=keys, attention_mask=mask))

    def final_norm(self, hidden: torch.Tensor) -> torch.Tensor:
        normed: torch.Tensor = self.model.transformer.ln_f(hidden)
        return normed


class GPTJFamily(Family):
    """GPT-J: attention and MLP in parallel on the same input, rotary positions inside the attention."""

    blocks_path = "transformer.h"
    mlp_output_path = "mlp.fc_out"

    def embed(self, input_ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        embedded: torch.Tensor = self.model.transformer.wte(input_ids)
        return embedded

    def runner(
        self,
        hidden: torch.Tensor,
        positions: torch.Tensor,
        mask: torch.Tensor | None,
        keys: KeyValues | None,
    ) -> Callable[[nn.Module, torch.Tensor], torch.Tensor]:
        return lambda block, states: _states(
            block(states, layer_past=keys, attention_mask=mask, position_ids=positions)
        )

    def final_norm(self, hidden: torch.Tensor) -> torch.Tensor:
        normed: torch.Tensor = self.model.transformer.ln_f(hidden)
        return normed


class LlamaFamily(Family):
    """Llama, Mistral, Qwen2: rotary angles computed once for all blocks, gated MLP."""

    blocks_path = "model.layers"
    mlp_output_path = "mlp.down_proj"

    def embed(self, input_ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        embedded: torch.Tensor = self.model.model.embed_tokens(input_ids)
        return embedded

    def runner(
        self, hidden: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None, keys: KeyValues | None
    ) -> Callable[[nn.Module, torch.Tensor], torch.Tensor]:
        angles = self.model.model.rotary_emb(hidden, position_ids=positions)
        return lambda block, states: _states(
            block(
                states,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=keys,
                position_embeddings=angles,
            )
        )

    def final_norm(self, hidden: torch.Tensor) -> torch.Tensor:
        normed: torch.Tensor = self.model.model.norm(hidden)
        return normed


def _states(output: Any) -> torch.Tensor:
    """A block returns its hidden states bare or first in a tuple, by family and library version."""
    states: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return states


_ADAPTERS: dict[str, type[Family]] = {"gpt2": GPT2Family, "gptj": GPTJFamily, "llama": LlamaFamily}


def family_of(model: nn.Module) -> Family:
    """The adapter for a loaded model; its `model_type` has been checked by `ModelSpec`.

    Raises:
        KeyError: the model's `model_type` is not supported.
    """
    config: Any = model.config
    return _ADAPTERS[FAMILIES[config.model_type]](model)
