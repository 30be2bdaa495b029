"""Second moments of keys for many blocks: read from published files, or counted over a corpus in one pass.

Counting follows ROME (Meng et al. 2022, appendix E.5): k is the input of the MLP's output projection at every real
token of the text. A pass runs up to the deepest block asked for and serves all of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from pydantic import Field

from collapse_tests.cache import atomic_file, discard_abandoned, exclusive
from collapse_tests.editors.corpus import GENERATED, corpus_rows, digest_of_rows
from collapse_tests.editors.hparams import Hyperparameters
from collapse_tests.editors.protocol import EditorContext
from collapse_tests.editors.second_moment import SecondMoment
from collapse_tests.errors import UsageError
from collapse_tests.models.batching import length_buckets, pad_right
from collapse_tests.models.digest import fingerprint
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.memory import TokenBudget
from collapse_tests.models.workload import pass_overhead, scoring_budget

__all__ = ["TOKENS_PER_INPUT", "KeySums", "MomentSource", "second_moments"]

#: Tokens counted per input of the layer, unless told otherwise; docs/covariance.md justifies it.
TOKENS_PER_INPUT = 40
#: Full budgets of tokens that one step adds: enough to sort rows of one length together.
_BUDGETS_PER_STEP = 8
#: Seconds of counting after which partial sums are written.
_SAVE_SECONDS = 60.0


class MomentSource(Hyperparameters):
    """Where second moments come from.

    Attributes:
        corpus: `generated` for text by the model itself, `hub:NAME[:CONFIG]` for a hub data set, or the path of a
            text file; see `corpus_rows`.
        tokens: keys to count, or None for `TOKENS_PER_INPUT` · d_k.
        statistics: published `.npz` files to read instead of counting: a directory that holds them at any depth, or
            one file where there is one block.
    """

    corpus: str = GENERATED
    tokens: int | None = Field(default=None, ge=1)
    statistics: Path | None = None


def second_moments(
    model: EditableModel, blocks: Sequence[int], source: MomentSource, context: EditorContext
) -> dict[int, SecondMoment]:
    """C = E[k kᵀ], uncentred, of the keys of each of `blocks`; (d_k, d_k), on the block's device.

    With a cache, sums that were counted before are read from it, and a count that was killed goes on from its last
    partial sums.

    Raises:
        UsageError: too few tokens for C to have an inverse, a corpus that cannot be read, or no published file for a
            block.
    """
    if not blocks:
        return {}
    width = model.weight_shape(model.mlp_output_weight(blocks[0]))[1]
    if source.statistics is not None:
        files = {block: _published(model, block, source.statistics.expanduser(), blocks) for block in blocks}
        return {block: SecondMoment.read(file, width, model.device_of_block(block)) for block, file in files.items()}
    tokens = TOKENS_PER_INPUT * width if source.tokens is None else source.tokens
    _check_enough(tokens, width, f"tokens={tokens}", "ask for")
    rows = corpus_rows(model, source.corpus, tokens, context)
    found = sum(map(len, rows))
    _check_enough(found, width, f"corpus {source.corpus!r} with its {found} tokens", "give a text of")
    wanted = sorted(set(blocks))
    if context.cache is None:
        return _as_moments(_counted(model, wanted, rows, context, None), found)
    name = f"{model.digest}-{model.precision.value}-{digest_of_rows(rows)}"
    return _as_moments(_cached(model, wanted, rows, context, context.cache / "moments" / name), found)


def _check_enough(tokens: int, width: int, what: str, remedy: str) -> None:
    """Refuse counts whose C is singular for certain."""
    if tokens <= width:
        raise UsageError(
            f"second moment from {what}: the layer has {width} inputs, and so few keys leave the moment without an "
            f"inverse; {remedy} {TOKENS_PER_INPUT * width} tokens, which is the default"
        )


def _as_moments(found: dict[int, torch.Tensor], tokens: int) -> dict[int, SecondMoment]:
    return {block: SecondMoment(moment, tokens) for block, moment in found.items()}


def _published(model: EditableModel, block: int, source: Path, blocks: Sequence[int]) -> Path:
    """The file of `block` in the layout of the ROME authors: `<module>_float32_mom2_<size>.npz`, in any folder.

    Raises:
        UsageError: there is none, or more than one, or one file was given for several blocks.
    """
    if not source.is_dir():
        if len(set(blocks)) > 1:
            raise UsageError(f"statistics {source}: one file for blocks {sorted(set(blocks))}; give their directory")
        return source
    pattern = f"{model.family.mlp_output(block)}_float32_mom2_*.npz"
    found = sorted(source.rglob(pattern))
    if not found:
        raise UsageError(f"statistics {source}: no {pattern} in it; give the directory of this model's files")
    if len(found) > 1:
        names = ", ".join(str(file.relative_to(source)) for file in found[:3])
        raise UsageError(
            f"statistics {source}: several files for block {block} ({names}); give the folder of one model"
        )
    return found[0]


# Counting ---------------------------------------------------------------------------------------------------------


@dataclass
class KeySums:
    """Σ k kᵀ per block, as far as it has been counted.

    Attributes:
        sums: block → (d_k, d_k) in float64, on the block's device.
        rows: rows of the corpus that are in.
    """

    sums: dict[int, torch.Tensor]
    rows: int = 0

    @classmethod
    def zero(cls, model: EditableModel, blocks: Sequence[int]) -> KeySums:
        """Nothing counted yet."""
        width = model.weight_shape(model.mlp_output_weight(blocks[0]))[1]
        return cls(
            {
                block: torch.zeros(width, width, dtype=torch.float64, device=model.device_of_block(block))
                for block in blocks
            }
        )

    def count(self, model: EditableModel, rows: Sequence[Sequence[int]]) -> Iterator[int]:
        """Add the keys of `rows` (all of the corpus; those that are in are skipped) step by step.

        Within a step keys are multiplied and summed in the model's type, float32 at least; the steps' sums are
        added up in float64.

        Yields:
            After each step the number of rows that are in.
        """
        budget = scoring_budget(model)
        while self.rows < len(rows):
            step = _step(rows, self.rows, _BUDGETS_PER_STEP * budget.tokens)
            work = partial(_step_sums, model, list(self.sums), step, budget)
            added = budget.run(work, max(map(len, step)))
            for block, total in added.items():
                self.sums[block] += total
            self.rows += len(step)
            yield self.rows


def _step(rows: Sequence[Sequence[int]], start: int, tokens: int) -> Sequence[Sequence[int]]:
    """Rows from `start` on, one or more, `tokens` in all at most."""
    end, size = start + 1, len(rows[start])
    while end < len(rows) and size + len(rows[end]) <= tokens:
        size += len(rows[end])
        end += 1
    return rows[start:end]


@torch.no_grad()
def _step_sums(
    model: EditableModel, blocks: Sequence[int], rows: Sequence[Sequence[int]], budget: TokenBudget
) -> dict[int, torch.Tensor]:
    """Σ k kᵀ of `rows` per block."""
    dtype = torch.promote_types(model.dtype, torch.float32)
    sums: dict[int, torch.Tensor] = {}
    groups = length_buckets([len(row) for row in rows], max_tokens=budget.tokens, overhead=pass_overhead(model))
    for group in groups:
        for block, keys in _keys(model, blocks, [rows[index] for index in group]).items():
            long = keys.to(dtype)
            sums[block] = torch.addmm(sums[block], long.T, long) if block in sums else long.T @ long
    return sums


def _keys(model: EditableModel, blocks: Sequence[int], rows: Sequence[Sequence[int]]) -> dict[int, torch.Tensor]:
    """Inputs of the output projection of each block at the real tokens of `rows`, (tokens, d_k) each."""
    ids = pad_right(rows, model.device)
    lengths = torch.tensor([len(row) for row in rows], device=model.device)
    real = torch.arange(ids.shape[1], device=model.device) < lengths[:, None]
    with ExitStack() as stack:
        seen = {block: stack.enter_context(model.captured(model.family.mlp_output(block))) for block in blocks}
        # Only the forward pass is short of bits; the products of keys come after it, in full precision.
        stack.enter_context(model.fast_kernels())
        model.hidden_at(ids, max(blocks) + 1)
    return {block: captured.input[real.to(captured.input.device)] for block, captured in seen.items()}


def _counted(
    model: EditableModel,
    blocks: Sequence[int],
    rows: Sequence[Sequence[int]],
    context: EditorContext,
    unfinished: Path | None,
) -> dict[int, torch.Tensor]:
    """Means per block, going on from the sums in `unfinished` and writing them there every so often."""
    total = sum(map(len, rows))
    stage = f"second moments of {model.name}"
    counted = KeySums.zero(model, blocks)
    if unfinished is not None:
        counted = _read_partial(unfinished, counted)
    context.progress(stage, sum(map(len, rows[: counted.rows])), total)
    saved = time.monotonic()
    for done in counted.count(model, rows):
        context.progress(stage, sum(map(len, rows[:done])), total)
        if unfinished is not None and done < len(rows) and time.monotonic() - saved >= _SAVE_SECONDS:
            _write_partial(unfinished, counted)
            saved = time.monotonic()
    # Rounded here and not only when stored, so that a count gives the same as its cached result.
    dtype = torch.promote_types(model.dtype, torch.float32)
    return {block: (counted.sums[block] / total).to(dtype) for block in blocks}


# The cache --------------------------------------------------------------------------------------------------------


def _cached(
    model: EditableModel, blocks: Sequence[int], rows: Sequence[Sequence[int]], context: EditorContext, folder: Path
) -> dict[int, torch.Tensor]:
    """Means per block, from one file each in `folder`; what is missing or damaged is counted."""
    files = {block: folder / f"block-{block:02d}.safetensors" for block in blocks}
    width = model.weight_shape(model.mlp_output_weight(blocks[0]))[1]
    with exclusive(folder, lambda line: context.progress(line, 0, 1)):
        found: dict[int, torch.Tensor] = {}
        for block, file in files.items():
            moment = _read(file).get("moment")
            if moment is not None and moment.shape == (width, width):
                found[block] = moment.to(model.device_of_block(block))
        missing = [block for block in blocks if block not in found]
        if missing:
            unfinished = folder / f"partial-{'-'.join(map(str, missing))}.safetensors"
            discard_abandoned(unfinished)
            for block, moment in _counted(model, missing, rows, context, unfinished).items():
                _write(files[block], {"moment": moment})
                found[block] = moment
            unfinished.unlink(missing_ok=True)
    return {block: found[block] for block in blocks}


def _read_partial(path: Path, empty: KeySums) -> KeySums:
    """Sums that a killed run has left, or `empty`."""
    stored = _read(path)
    try:
        sums = {block: stored[str(block)].to(zero) for block, zero in empty.sums.items()}
        rows = int(stored["rows"])
    except KeyError:
        return empty
    return KeySums(sums, rows)


def _write_partial(path: Path, counted: KeySums) -> None:
    tensors = {str(block): total for block, total in counted.sums.items()}
    _write(path, {**tensors, "rows": torch.tensor(counted.rows)})


def _read(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a file that `_write` wrote; none if it is missing or any bit of it has changed."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            prints = file.metadata() or {}
            tensors: dict[str, torch.Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return {}
    whole = all(prints.get(name) == str(fingerprint(tensor)) for name, tensor in tensors.items())
    return tensors if whole else {}


def _write(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write tensors with their fingerprints; a reader sees all of the file or none."""
    from safetensors.torch import save_file

    prints = {name: str(fingerprint(tensor)) for name, tensor in tensors.items()}
    with atomic_file(path) as partial:
        save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, partial, metadata=prints)
