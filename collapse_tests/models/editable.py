"""A model that can be edited, run from any block on, and proven restored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, cast

import torch
from torch import nn

from collapse_tests.errors import EditorError, UsageError
from collapse_tests.models.attention import KeyValues, causal_mask
from collapse_tests.models.devices import devices_of_blocks, stretches
from collapse_tests.models.digest import digest_of, fingerprints
from collapse_tests.models.families import family_of
from collapse_tests.models.forwards import replaced
from collapse_tests.models.fused import fused_forwards
from collapse_tests.models.hooks import Captured, added_low_rank, hooked, stacked
from collapse_tests.models.precision import MatmulPrecision, ShortWeights, tf32_products
from collapse_tests.weight_update import DenseDelta, LowRankDelta, WeightUpdate

__all__ = ["EditableModel", "is_transposed"]


class EditableModel:
    """A causal language model, its tokenizer and its family adapter.

    Parameters do not require gradients and the model is in evaluation mode. Blocks may lie on several devices; see
    `models/devices.py` for what else does then.

    Args:
        model: a Hugging Face causal language model of a supported family.
        tokenizer: its tokenizer.
        name: the name the user gave, which selects hyper-parameters.
        precision: of float32 matrix products inside `fast_kernels`.

    Attributes:
        digest: name of the unedited weights, 32 hexadecimal digits.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        name: str,
        precision: MatmulPrecision = MatmulPrecision.FLOAT32,
    ) -> None:
        self.model = cast(Any, model)
        self.model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        self.precision = precision
        self.family = family_of(model)
        self.config = self.model.config
        self._linears: dict[str, nn.Module] = {
            f"{path}.weight": module for path, module in model.named_modules() if _is_linear(module)
        }
        self._short = ShortWeights(self._linears.values())
        self._fused = fused_forwards(model)
        places = devices_of_blocks(self.family)
        self._places = places if len({*places, self.device}) > 1 else None
        self._fast = False
        self._prints = fingerprints(model)
        self.digest = digest_of(self._prints, f"{self.config.model_type} {self.dtype}")

    # What it is -------------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """Where the parameters are, or, of a model on several devices, where its inputs and outputs are."""
        parameter: torch.Tensor = next(self.model.parameters())
        return parameter.device

    @property
    def blocks_by_device(self) -> dict[torch.device, int]:
        """Every device that holds a part of the model, that of its inputs first, and how many blocks it holds."""
        counts = Counter({self.device: self.n_blocks} if self._places is None else self._places)
        return {self.device: counts[self.device]} | counts

    def device_of_block(self, block: int) -> torch.device:
        """Where the weights of `block` are."""
        return self.parameter(self.mlp_output_weight(block)).device

    @property
    def dtype(self) -> torch.dtype:
        """The parameters' type."""
        parameter: torch.Tensor = next(self.model.parameters())
        return parameter.dtype

    @property
    def n_blocks(self) -> int:
        """Number of transformer blocks."""
        return len(self.family.blocks)

    @property
    def vocabulary_size(self) -> int:
        """Number of logits."""
        return int(self.config.vocab_size)

    @property
    def max_length(self) -> int:
        """Longest row, in tokens, that plain causal attention handles as the model was trained."""
        limits = (
            getattr(self.config, "max_position_embeddings", None),
            getattr(self.config, "sliding_window", None),
        )
        return min(int(limit) for limit in limits if limit)

    def parameter(self, name: str) -> torch.Tensor:
        """A parameter or buffer by its full name.

        Raises:
            EditorError: the model has none of that name.
        """
        path, _, leaf = name.rpartition(".")
        try:
            tensor = getattr(self.model.get_submodule(path), leaf)
        except AttributeError:
            tensor = None
        if not isinstance(tensor, torch.Tensor):  # a module, or the bias of a layer without one
            raise EditorError(f"model {self.name!r} has no parameter {name!r}")
        return tensor

    def linear(self, name: str) -> nn.Module:
        """The linear layer (Linear or Conv1D) whose weight is called `name`.

        Raises:
            EditorError: `name` is not the weight of a linear layer, so it can have no low-rank update.
        """
        try:
            return self._linears[name]
        except KeyError:
            raise EditorError(f"{name!r} is not the weight of a linear layer of model {self.name!r}") from None

    def checked_block(self, block: int, option: str) -> int:
        """`block`, the value of the hyper-parameter `option`.

        Raises:
            UsageError: this model has no such block.
        """
        if not 0 <= block < self.n_blocks:
            raise UsageError(f"{option}={block}: model {self.name!r} has blocks 0 to {self.n_blocks - 1}")
        return block

    def mlp_output_weight(self, block: int) -> str:
        """Name of the weight of the MLP output projection of `block`."""
        return f"{self.family.mlp_output(block)}.weight"

    def block_of(self, name: str) -> int:
        """The block that holds parameter `name`; -1 for what precedes the blocks, `n_blocks` for what follows them.

        A run from that block's input sees every effect of a change of the parameter; for -1 that is a run from the
        token ids, since the embeddings make the input of block 0.
        """
        prefix = f"{self.family.blocks_path}."
        if name.startswith(prefix):
            return int(name[len(prefix) :].partition(".")[0])
        module = self.model.get_submodule(name.rpartition(".")[0])
        head = self.model.get_output_embeddings()
        tied = head.weight is self.model.get_input_embeddings().weight
        after = module is head and not tied
        return self.n_blocks if after or "norm" in name or "ln_f" in name else -1

    # Text -------------------------------------------------------------------------------------------------

    def encode(self, text: str, *, special_tokens: bool = True) -> list[int]:
        """Token ids of `text`, with the start token the tokenizer adds by itself unless told otherwise.

        Raises:
            UsageError: more tokens than the model can attend to.
        """
        return self.encode_all([text], special_tokens=special_tokens)[0]

    def encode_all(self, texts: Sequence[str], *, special_tokens: bool = True) -> list[list[int]]:
        """Token ids of several texts; one call of the tokenizer spreads them over the cores. See `encode`."""
        if not texts:
            return []
        rows: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=special_tokens)["input_ids"]
        for text, ids in zip(texts, rows, strict=True):
            if len(ids) > self.max_length:
                raise UsageError(
                    f"a text of {len(ids)} tokens is longer than the {self.max_length} that model {self.name!r} "
                    f"takes; shorten it: {text[:60]!r}…"
                )
        return rows

    def answer_ids(self, prompt: str, answer: str) -> list[int]:
        """Token ids of `answer` as the continuation of `prompt` after one space.

        Taken from the encoding of the whole text where that extends the prompt's, since some SentencePiece
        tokenizers encode a lone " answer" with an extra token.
        """
        start = self.encode(prompt)
        whole = self.encode(f"{prompt} {answer}")
        if whole[: len(start)] == start and len(whole) > len(start):
            return whole[len(start) :]
        return self.encode(f" {answer}", special_tokens=False)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, special tokens left out."""
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text

    # Running ----------------------------------------------------------------------------------------------

    def embed(self, input_ids: torch.Tensor, positions: torch.Tensor | None = None) -> torch.Tensor:
        """Input of block 0, (rows, length, hidden), for ids (rows, length) padded on the right."""
        return self.family.embed(input_ids, _positions(input_ids) if positions is None else positions)

    def run_blocks(
        self,
        hidden: torch.Tensor,
        start: int,
        stop: int | None = None,
        *,
        positions: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        keys: KeyValues | None = None,
    ) -> torch.Tensor:
        """Run blocks `start` to `stop` (exclusive; default all) on the input of block `start`.

        Args:
            hidden: (rows, length, hidden size), padded on the right.
            start: first block to run.
            stop: block to stop before.
            positions: (rows, length) absolute positions; by default 0, 1, 2, … in every row.
            mask: additive attention mask; by default causal, which suits right padding.
            keys: a store the attention layers put keys and values into or take a prefix from.

        Returns:
            The input of block `stop`, (rows, length, hidden size), on the device of `hidden`.
        """
        stop = self.n_blocks if stop is None else stop
        if start >= stop:
            return hidden
        if positions is None:
            positions = _positions(hidden[..., 0])
        if mask is None and self.config._attn_implementation != "sdpa":
            mask = causal_mask(hidden.shape[1], hidden.dtype, hidden.device)
        if self._places is None:
            return self._run(hidden, start, stop, positions, mask, keys)
        home = hidden.device
        for device, first, end in stretches(self._places, start, stop):
            there = None if mask is None else mask.to(device)
            hidden = self._run(hidden.to(device), first, end, positions.to(device), there, keys)
        return hidden.to(home)

    def _run(
        self,
        hidden: torch.Tensor,
        start: int,
        stop: int,
        positions: torch.Tensor,
        mask: torch.Tensor | None,
        keys: KeyValues | None,
    ) -> torch.Tensor:
        """Run blocks that are on one device, as everything else is."""
        with self.family.attention(mask, keys) as (attention_mask, store):
            run = self.family.runner(hidden, positions, attention_mask, store)
            for block in self.family.blocks[start:stop]:
                hidden = run(block, hidden)
        return hidden

    def hidden_at(self, input_ids: torch.Tensor, block: int) -> torch.Tensor:
        """Input of `block`, (rows, length, hidden size), for ids (rows, length) padded on the right."""
        return self.run_blocks(self.embed(input_ids), 0, block)

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits (..., vocabulary) of hidden states after the last block (..., hidden size)."""
        return self.family.head(hidden)

    @contextmanager
    def captured(self, module: str) -> Iterator[Captured]:
        """Record the input and output of the module at path `module` during one forward pass."""
        capture = Captured()
        with hooked(self.model.get_submodule(module), capture.hook):
            yield capture

    @contextmanager
    def fast_kernels(self) -> Iterator[None]:
        """Products in the precision the run asked for and fused layers, for the time of a `with` block.

        For the bulk of the work, where rounding averages out: the steps of an optimisation, the scoring of texts.
        Keys, values and whatever else makes up an update are computed outside, by the library's layers as they are.
        A block inside another changes nothing.
        """
        if self._fast:
            yield
            return
        with ExitStack() as stack:
            self._fast = True
            stack.callback(setattr, self, "_fast", False)
            stack.enter_context(replaced(self._fused))
            if self.precision is MatmulPrecision.TF32:
                stack.enter_context(tf32_products())
            elif self.precision is MatmulPrecision.BFLOAT16:
                stack.enter_context(replaced(self._short.forwards))
            yield

    # Editing ----------------------------------------------------------------------------------------------

    def check_fits(self, update: WeightUpdate) -> None:
        """Refuse an update that has no place in this model.

        Raises:
            EditorError: a parameter does not exist or has another shape, or a low-rank change is not of a linear layer.
        """
        shape: tuple[int, ...]
        expected: tuple[int, ...]
        for name, delta in update.deltas.items():
            if isinstance(delta, LowRankDelta):
                shape, expected = (delta.left.shape[0], delta.right.shape[1]), self.weight_shape(name)
            else:
                shape, expected = delta.delta.shape, self.parameter(name).shape
            if shape != expected:
                raise EditorError(f"the update of {name} has shape {tuple(shape)}, not {tuple(expected)}")

    def add(self, update: WeightUpdate) -> None:
        """Write `update` into the weights for good.

        Raises:
            EditorError: the update does not fit the model's parameters; nothing has been changed then.
        """
        self.check_fits(update)
        targets = {name: self.parameter(name) for name in update.deltas}
        changes = {name: self._storage_delta(name, targets[name], update) for name in targets}
        with torch.no_grad():
            for name, tensor in targets.items():
                tensor.copy_(tensor.to(changes[name].dtype) + changes[name])
        self._short.forget(targets.values())

    @contextmanager
    def applied(self, update: WeightUpdate) -> Iterator[None]:
        """Write `update` into the weights for the time of a `with` block, then restore them bit-exactly.

        Raises:
            EditorError: the update does not fit the model's parameters; nothing has been changed then.
        """
        self.check_fits(update)
        originals = {name: self.parameter(name).detach().clone() for name in update.deltas}
        try:
            self.add(update)
            yield
        finally:
            self.restore(originals)

    def _storage_delta(self, name: str, tensor: torch.Tensor, update: WeightUpdate) -> torch.Tensor:
        delta = update.deltas[name]
        if isinstance(delta, LowRankDelta):
            change = delta.matrix()
            if is_transposed(self.linear(name)):
                change = change.T
        else:
            change = delta.delta
        return change.to(tensor.device)

    @contextmanager
    def side_by_side(self, updates: Sequence[WeightUpdate], case_of_row: torch.Tensor) -> Iterator[None]:
        """Let each row of a forward pass see its own low-rank update, no weight being written.

        Each edited linear layer adds left_c (right_c x) to its output for the rows x of case c.

        Args:
            updates: one low-rank update per case.
            case_of_row: (rows,) index into `updates` of each row of every forward pass in the `with` block;
                an index of `len(updates)` means the unedited model.

        Raises:
            EditorError: an update does not fit the model's layers.
        """
        for update in updates:
            self.check_fits(update)
        names = sorted({name for update in updates for name in update.deltas})
        with ExitStack() as hooks:
            for name in names:
                left, right = self._factors(name, updates)
                cases = case_of_row.to(left.device)
                hook = added_low_rank(left[cases], right[cases])
                hooks.enter_context(hooked(self.linear(name), hook))
            yield

    def _factors(self, name: str, updates: Sequence[WeightUpdate]) -> tuple[torch.Tensor, torch.Tensor]:
        """Factors of all cases for one layer, on its device; see `stacked`."""
        deltas = [update.deltas.get(name) for update in updates]
        if any(isinstance(delta, DenseDelta) for delta in deltas):
            raise EditorError(f"a dense change of {name} cannot be evaluated side by side")
        low_rank = [delta if isinstance(delta, LowRankDelta) else None for delta in deltas]
        dtype = torch.promote_types(self.dtype, torch.float32)
        return stacked(low_rank, self.weight_shape(name), dtype, self.parameter(name).device)

    def shareable(self, update: WeightUpdate) -> bool:
        """Whether `side_by_side` can evaluate the update: low-rank, and inside the blocks."""
        prefix = f"{self.family.blocks_path}."
        return update.is_low_rank and all(name.startswith(prefix) for name in update.deltas)

    def weight_shape(self, name: str) -> tuple[int, int]:
        """(out_features, in_features) of a linear layer's weight, whatever its storage."""
        layer = self.linear(name)
        first, second = self.parameter(name).shape
        return (second, first) if is_transposed(layer) else (first, second)

    # Restoration ------------------------------------------------------------------------------------------

    def changed_tensors(self) -> list[str]:
        """Names of parameters and buffers that differ from the unedited model's in any bit, or came or went."""
        now = fingerprints(self.model)
        return sorted(name for name in now.keys() | self._prints.keys() if now.get(name) != self._prints.get(name))

    def snapshot(self) -> dict[str, torch.Tensor]:
        """Copies of every parameter and buffer, by name."""
        return {name: tensor.detach().clone() for name, tensor in self.tensors().items()}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Every parameter and buffer, by name."""
        return dict(self.model.named_parameters()) | dict(self.model.named_buffers())

    @torch.no_grad()
    def restore(self, originals: Mapping[str, torch.Tensor]) -> None:
        """Copy tensors back in place, by name; a tensor that is gone or has another shape is left out."""
        written = []
        for name, original in originals.items():
            with suppress(EditorError):
                tensor = self.parameter(name)
                if tensor.shape == original.shape:
                    tensor.copy_(original)
                    written.append(tensor)
        self._short.forget(written)


def is_transposed(layer: nn.Module) -> bool:
    """Whether a linear layer stores its weight as (in_features, out_features): GPT-2's Conv1D does."""
    return not isinstance(layer, nn.Linear)


def _is_linear(module: nn.Module) -> bool:
    # By name, so that importing this module does not import transformers.
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _positions(rows: torch.Tensor) -> torch.Tensor:
    return torch.arange(rows.shape[1], device=rows.device).expand(rows.shape[0], -1)
