"""How many tokens does a covariance need? Compares C⁻¹k̄ from samples of growing size, and what MEMIT does with them.

    python -m benchmarks.moment_convergence --blocks 3,4,5 --multiples 2,5,10,20,40,80

Keys k̄ are those of the shipped normal requests, averaged over a prefix-free and some prefixed prompts. For a sample
of N keys and the reference, which is the largest sample:

    cosine     mean cosine of C_N⁻¹k̄ to the reference's
    twins      mean cosine of C_N⁻¹k̄ between two samples of that size that share no row, where the corpus has two;
               its square root is about the cosine to the truth, which the reference only approaches
    scale      mean of k̄ᵀC_N⁻¹k̄, the number that MEMIT weighs against λ, relative to the reference's, as the sample
               gives it, and with the inverse times 1 − d_k/N on both sides

With `--edits N`, also edit success and median ME-PPL of the `memit` editor over the first N normal requests, its
covariances being those of that size. docs/covariance.md holds the table for the default model.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

import torch
from rich.console import Console
from rich.table import Table

from collapse_tests.cache import cache_dir
from collapse_tests.cases import expand_cases
from collapse_tests.datasets.requests import load_requests
from collapse_tests.datasets.texts import load_texts
from collapse_tests.editors.contexts import context_templates
from collapse_tests.editors.corpus import GENERATED, corpus_rows
from collapse_tests.editors.lookup import request_rows
from collapse_tests.editors.moments import KeySums
from collapse_tests.editors.protocol import EditorContext, PreparedEditor
from collapse_tests.editors.registry import create_editor
from collapse_tests.editors.second_moment import SecondMoment
from collapse_tests.engine.bench import Bench
from collapse_tests.engine.runner import BatchRunner
from collapse_tests.models.batching import pad_right
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.loading import load_model
from collapse_tests.settings import DEFAULT_MODEL, Override, Settings


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--corpus", default=GENERATED)
    parser.add_argument("--blocks", default="3,4,5", help="comma list")
    parser.add_argument("--multiples", default="2,5,10,20,40,80", help="sample sizes over d_k, ascending")
    parser.add_argument("--requests", type=int, default=24, help="normal requests whose keys are whitened")
    parser.add_argument("--edits", type=int, default=0, help="normal requests that MEMIT edits, at every size")
    given = parser.parse_args(arguments)
    settings = Settings(editors=("memit",), models=(given.model,), edits=("normal",), device=given.device)
    model = load_model(given.model, settings, print)
    blocks = _integers(given.blocks)
    context = EditorContext(cache=cache_dir(), progress=_Clock())
    started = time.perf_counter()
    multiples = _integers(given.multiples)
    width = model.weight_shape(model.mlp_output_weight(blocks[0]))[1]
    rows = corpus_rows(model, given.corpus, multiples[-1] * width, context)
    print(f"{sum(map(len, rows))} tokens of {given.corpus} in {time.perf_counter() - started:.0f} s", flush=True)
    keys = _keys(model, blocks, given.requests, context)
    samples = _samples(model, rows, blocks, [multiple * width for multiple in multiples])
    twins = _samples(model, rows[::-1], blocks, [size.tokens for size in samples if 2 * size.tokens <= _total(rows)])
    for block in blocks:
        Console().print(_table(block, width, keys[block], samples, twins))
    for sample in samples if given.edits else ():
        outcome = _edited(model, settings, sample, given.edits, context)
        print(f"memit at {sample.tokens / width:.1f} tokens per input: {outcome}", flush=True)


def _integers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


class _Clock:
    """A `Progress` that prints a line every half a minute."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if time.monotonic() - self._last > 30:
            self._last = time.monotonic()
            print(f"{stage}: {done} of {total}", flush=True)


@dataclass(frozen=True)
class _Sample:
    """Covariances of one size: block → C as a plain mean, not corrected."""

    tokens: int
    moments: dict[int, SecondMoment]

    def quadratic(self, block: int, keys: torch.Tensor) -> torch.Tensor:
        """k̄ᵀC⁻¹k̄ of keys (n, d_k)."""
        return (self.moments[block].whiten(keys) * keys).sum(-1)

    def correction(self, width: int) -> float:
        """1 − d_k/N."""
        return 1 - width / self.tokens


def _total(rows: Sequence[Sequence[int]]) -> int:
    return sum(map(len, rows))


def _samples(
    model: EditableModel, rows: Sequence[Sequence[int]], blocks: Sequence[int], sizes: Sequence[int]
) -> list[_Sample]:
    """One sample per size, each the beginning of `rows`; every row is run once."""
    sums, samples = KeySums.zero(model, blocks), []
    for size in sizes:
        end = next(end for end in range(1, len(rows) + 1) if end == len(rows) or _total(rows[:end]) >= size)
        started = time.perf_counter()
        for _ in sums.count(model, rows[:end]):
            pass
        tokens = _total(rows[:end])
        print(f"counted up to {tokens} tokens: {time.perf_counter() - started:.0f} s more", flush=True)
        samples.append(_Sample(tokens, {block: SecondMoment(total / tokens) for block, total in sums.sums.items()}))
    return samples


@torch.no_grad()
def _keys(
    model: EditableModel, blocks: Sequence[int], n_requests: int, context: EditorContext
) -> dict[int, torch.Tensor]:
    """Averaged keys of the first normal requests, (requests, d_k) in float64 per block."""
    templates = context_templates(model, ((10, 5),), context.seed, context.cache)
    found: dict[int, list[torch.Tensor]] = {block: [] for block in blocks}
    requests = [named.request for named in load_requests("normal")[:n_requests]]
    for request in request_rows(model, requests, templates):
        ids = pad_right([row.ids[: row.lookup + 1] for row in request.contexts], model.device)
        ends = torch.arange(len(ids)), torch.tensor([row.lookup for row in request.contexts])
        for block in blocks:
            with model.captured(model.family.mlp_output(block)) as seen:
                model.hidden_at(ids, block + 1)
            found[block].append(seen.input[ends].double().mean(0))
    return {block: torch.stack(keys) for block, keys in found.items()}


def _edited(model: EditableModel, settings: Settings, sample: _Sample, n_requests: int, context: EditorContext) -> str:
    """What MEMIT does with covariances of one size, as a line."""
    overrides = (Override("memit", "moment_tokens", sample.tokens),)
    asked = Settings(editors=("memit",), models=settings.models, edits=settings.edits, overrides=overrides)
    editor = create_editor("memit", model.name, asked)
    if isinstance(editor, PreparedEditor):
        editor.prepare(model, context)
    bench = Bench(model, load_texts("default"), settings.ppl_limit)
    records = BatchRunner(bench, editor, asked, "main", context.progress).run(expand_cases(asked)[:n_requests])
    success = fmean(bool(record.quality.success) for record in records if record.quality is not None)
    perplexities = [record.edited.me_ppl for record in records if record.edited is not None]
    return f"success {success:.3f}, ME-PPL median {median(perplexities):.1f}, worst {max(perplexities):.1f}"


def _table(block: int, width: int, keys: torch.Tensor, samples: Sequence[_Sample], twins: Sequence[_Sample]) -> Table:
    table = Table("N/d_k", "cosine", "twins", "scale", "scale · (1 − d_k/N)", title=f"block {block}, d_k {width}")
    for column in table.columns:
        column.justify = "right"
    reference = samples[-1]
    for index, sample in enumerate(samples):
        whitened = sample.moments[block].whiten(keys)
        twin = twins[index].moments[block].whiten(keys) if index < len(twins) else None
        scale = float((sample.quadratic(block, keys) / reference.quadratic(block, keys)).mean())
        table.add_row(
            f"{sample.tokens / width:.1f}",
            _cosine(whitened, reference.moments[block].whiten(keys)),
            "" if twin is None else _cosine(whitened, twin),
            f"{scale:.3f}",
            f"{scale * sample.correction(width) / reference.correction(width):.3f}",
        )
    return table


def _cosine(first: torch.Tensor, second: torch.Tensor) -> str:
    return f"{float(torch.cosine_similarity(first, second, dim=-1).mean()):.3f}"


if __name__ == "__main__":
    main()
