"""How much work to give a device at once: enough to keep it busy, no more than its memory holds.

Sizes are rules of thumb in padded tokens; a budget that turns out too large is halved where memory runs out. A layer
of width h does work in proportion to h per token in passes over memory, and to h² in products, so what fills a GPU
is counted in tokens times width. Where blocks lie on several devices, the one with the least memory for its share
of the work sets the size.
"""

from __future__ import annotations

from collapse_tests.models.editable import EditableModel
from collapse_tests.models.memory import TokenBudget, free_bytes

__all__ = [
    "decoding_budget",
    "generated_rows",
    "gradient_budget",
    "kept_tokens",
    "logits_per_slice",
    "pass_overhead",
    "requests_per_batch",
    "scoring_budget",
    "trained_copies",
    "update_bytes_in_memory",
    "updates_in_memory",
    "whole_updates_in_memory",
]

_CPU_SCORING_TOKENS = 2048  # enough to keep the cores busy, little enough for their caches
_CPU_GRADIENT_TOKENS = 512
_GPU_SCORING_TOKENS = 65536
_GPU_GRADIENT_TOKENS = 32768
_CPU_OVERHEAD = 64
_GPU_OVERHEAD = 1 << 21  # over the width: launching a pass takes a GPU as long as this many token-widths of work
_CPU_REQUESTS = 16
_GPU_REQUESTS = 1 << 20  # over the width
_CPU_ROWS = 64  # of text that the model writes
_CPU_LOGITS = 1 << 22  # fits the last-level cache and the allocator's pools
_GPU_LOGITS = 1 << 29
#: Shares of a GPU's free memory that prefixes kept for an optimisation and activations may plan with; the rest covers
#: what the estimates leave out.
_PREFIX_SHARE = 0.35
_ACTIVATION_SHARE = 0.5
#: Of a GPU's free memory, for hidden states that are kept from one batch of edits to the next.
_STATES_SHARE = 0.2
_CPU_STATES_BYTES = 2 << 30
#: Of a GPU's free memory, for trained copies of weights; each comes with its gradient, Adam's two moments, and one more
#: while the gradient is made.
_COPIES_SHARE = 0.4
_TENSORS_PER_COPY = 5
_CPU_COPIES = 8  # a step passes over all of them: few enough for the caches
_UPDATES_BYTES = 4 << 30  # dense updates wait in the host's memory to be measured
_PREFIX_TOKENS = 21 * 16  # of a request: ROME's contexts, and a usual prompt up to its subject


def requests_per_batch(model: EditableModel) -> int:
    """Requests to edit and measure together."""
    if _on_cpu(model):
        return _CPU_REQUESTS
    prefix = _PREFIX_TOKENS * 2 * _width(model) * model.dtype.itemsize  # keys and values of a block
    fitting = int(_PREFIX_SHARE * _free_bytes_per_block(model) / prefix)
    return max(1, min(max(_GPU_REQUESTS // _width(model), 64), 512, fitting))


def generated_rows(model: EditableModel) -> int:
    """Rows of text to let the model write together."""
    return _CPU_ROWS if _on_cpu(model) else requests_per_batch(model)


def pass_overhead(model: EditableModel) -> float:
    """Tokens that take as long as launching one more forward pass."""
    return _CPU_OVERHEAD if _on_cpu(model) else _GPU_OVERHEAD / _width(model)


def scoring_budget(model: EditableModel) -> TokenBudget:
    """Tokens per forward pass without gradients."""
    if _on_cpu(model):
        return TokenBudget(_CPU_SCORING_TOKENS)
    return TokenBudget(min(_GPU_SCORING_TOKENS, _fitting(model, all_blocks=False)))


def kept_tokens(model: EditableModel) -> int:
    """Tokens whose hidden states to keep between batches of edits."""
    room = _CPU_STATES_BYTES if _on_cpu(model) else _STATES_SHARE * free_bytes(model.device)
    return int(room / (_width(model) * model.dtype.itemsize))


def decoding_budget(model: EditableModel) -> TokenBudget:
    """Tokens per batch of texts that are decoded, whose keys and values of every block are held."""
    if _on_cpu(model):
        return TokenBudget(_CPU_SCORING_TOKENS)
    return TokenBudget(min(_GPU_SCORING_TOKENS, _fitting(model, all_blocks=True)))


def gradient_budget(model: EditableModel) -> TokenBudget:
    """Tokens per forward pass that keeps every block's activations for the backward pass."""
    if _on_cpu(model):
        return TokenBudget(_CPU_GRADIENT_TOKENS)
    return TokenBudget(min(_GPU_GRADIENT_TOKENS, _fitting(model, all_blocks=True)))


def logits_per_slice(model: EditableModel) -> int:
    """Logits to hold at once."""
    return _CPU_LOGITS if _on_cpu(model) else _GPU_LOGITS


def trained_copies(model: EditableModel, copy_bytes: int) -> int:
    """Copies of trained weights, of so many bytes each, to optimise together."""
    if _on_cpu(model):
        return _CPU_COPIES
    return max(1, int(_COPIES_SHARE * _least_free_bytes(model) / (_TENSORS_PER_COPY * copy_bytes)))


def update_bytes_in_memory() -> int:
    """Bytes of updates to hold together."""
    return _UPDATES_BYTES


def updates_in_memory(update_bytes: int) -> int:
    """Dense updates, of so many bytes each, to hold together."""
    return max(1, update_bytes_in_memory() // max(1, update_bytes))


def whole_updates_in_memory(model: EditableModel) -> int:
    """Updates to hold together that may change every weight."""
    return updates_in_memory(sum(tensor.nbytes for tensor in model.tensors().values()))


def _fitting(model: EditableModel, *, all_blocks: bool) -> int:
    """Tokens whose activations, in one block at a time or in all of them, fit the free memory of every GPU."""
    width, inner = model.weight_shape(model.mlp_output_weight(0))
    # About two dozen tensors of the width and five of the MLP's inner width per token and block, as counted on Llama.
    per_token = (24 * width + 5 * inner) * model.dtype.itemsize
    free = _free_bytes_per_block(model) if all_blocks else _least_free_bytes(model)
    return max(1, int(_ACTIVATION_SHARE * free / per_token))


def _least_free_bytes(model: EditableModel) -> int:
    """Of the fullest GPU that holds a part of the model."""
    return min(free_bytes(device) for device in model.blocks_by_device)


def _free_bytes_per_block(model: EditableModel) -> float:
    """Of the GPU that has the least for each of its blocks."""
    return min(free_bytes(device) / max(1, blocks) for device, blocks in model.blocks_by_device.items())


def _on_cpu(model: EditableModel) -> bool:
    return model.device.type == "cpu"


def _width(model: EditableModel) -> int:
    return model.weight_shape(model.mlp_output_weight(0))[0]
