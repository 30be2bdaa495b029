"""One adapter per architecture family: where things are, and how to run the blocks one by one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from collapse_tests.models.attention import KeyValues, PrefixKeyValues, SplitMask, split_attention
from collapse_tests.models.specs import FAMILIES

__all__ = ["Family", "family_of"]

#: Name under which transformers knows `split_attention`.
_SPLIT_ATTENTION = "collapse_split"


class Family(ABC):
    """How one architecture family lays out its modules.

    Args:
        model: a Hugging Face causal language model of this family.
    """

    #: Path of the list of blocks, of the normalisation between the last block and the head, and of the MLP and its
    #: output projection inside a block.
    blocks_path: str
    norm_path: str
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

    @contextmanager
    def attention(self, mask: torch.Tensor | None, keys: KeyValues | None) -> Iterator[tuple[Any, KeyValues | None]]:
        """Mask and key/value store to run blocks with inside the `with` block, whatever suits the family best."""
        yield mask, keys

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits (..., vocabulary) of hidden states after the last block (..., hidden)."""
        normed = self.model.get_submodule(self.norm_path)(hidden)
        logits: torch.Tensor = self.model.get_output_embeddings()(normed)
        return logits


class ReplaceableAttentionFamily(Family):
    """A family whose blocks take their attention function from transformers' registry, and leave the mask alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        from transformers import AttentionInterface

        AttentionInterface.register(_SPLIT_ATTENTION, split_attention)

    @contextmanager
    def attention(self, mask: torch.Tensor | None, keys: KeyValues | None) -> Iterator[tuple[Any, KeyValues | None]]:
        if mask is None or not isinstance(keys, PrefixKeyValues):
            yield mask, keys
            return
        config = self.model.config
        before, config._attn_implementation = config._attn_implementation, _SPLIT_ATTENTION
        try:
            yield SplitMask.of(mask, keys), KeyValues()
        finally:
            config._attn_implementation = before


class GPT2Family(ReplaceableAttentionFamily):
    """GPT-2: learned positions, Conv1D layers (weights stored transposed)."""

    blocks_path = "transformer.h"
    norm_path = "transformer.ln_f"
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


class GPTJFamily(Family):
    """GPT-J: attention and MLP in parallel on the same input, rotary positions inside the attention."""

    blocks_path = "transformer.h"
    norm_path = "transformer.ln_f"
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


class LlamaFamily(ReplaceableAttentionFamily):
    """Llama, Mistral, Qwen2: rotary angles computed once for all blocks, gated MLP."""

    blocks_path = "model.layers"
    norm_path = "model.norm"
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
