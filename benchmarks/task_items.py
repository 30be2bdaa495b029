"""What the shipped downstream items measure: what the unedited model knows, and nothing else.

    python -m benchmarks.task_items
    python -m benchmarks.task_items --wrecked 40 --misses

Four questions about each set, each with a limit. Does the unedited model do well? Is there a way to do well without
reading the context? What does it cost? Does a wrecked model fall to chance? The scores come from plain forward passes
in float32, a second opinion on those of the gate's engine. Ends with 1 if a limit is broken.

    options alone  right by the model's own probabilities after the end-of-text token instead of the context;
                   for the last word, by its greedy guess there
    by length      right by always taking the shortest or the longest option, in characters or tokens: the best of four
    constant       right by always taking one position; for the last word, by always giving one word
    tokens         run for one evaluation: each context once, and all but the last token of each option
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from rich.console import Console
from rich.table import Table

import collapse_tests
from collapse_tests.datasets.texts import load_texts
from collapse_tests.metrics.perplexity import perplexity
from collapse_tests.metrics.rows import RowScore
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.loading import load_model
from collapse_tests.settings import DEFAULT_MODEL, DEFAULT_PPL_TEXTS, Settings
from collapse_tests.weight_update import LowRankDelta, WeightUpdate

__all__ = ["main"]

DIRECTORY = Path(collapse_tests.__file__).parent / "data" / "tasks"
TOKEN_LIMIT = 3_600
CONTEXT_LIMIT = 16
WRECKED_BLOCKS = range(10, 21)

_ROWS_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one set, as rates.

    Attributes:
        chance: what guessing reaches.
        right: what the unedited model must reach.
        alone: what the options alone may reach.
        cue: what length and a constant answer may reach.
        wrecked: how far the mean of wrecked models may be from chance.
    """

    chance: float
    right: float
    alone: float
    cue: float
    wrecked: float = 0.05


LIMITS = {
    "commonsense": Limits(chance=0.5, right=0.90, alone=0.58, cue=0.55),
    "completion": Limits(chance=0.25, right=0.85, alone=0.33, cue=0.30),
    "last_word": Limits(chance=0.0, right=0.75, alone=0.02, cue=0.03),
}


@dataclass(frozen=True, slots=True)
class Item:
    """One item; a last word is an item with one option.

    Attributes:
        query: the context.
        options: what may follow it, without the space between.
        gold: index of the right one.
        context: token ids of `query`.
        continuations: token ids of each option after `query`.
    """

    query: str
    options: tuple[str, ...]
    gold: int
    context: tuple[int, ...]
    continuations: tuple[tuple[int, ...], ...]

    @property
    def tokens(self) -> int:
        """Tokens that are run for this item."""
        return len(self.context) + sum(len(ids) - 1 for ids in self.continuations)

    @property
    def answer(self) -> str | int:
        """What a constant answer would have to be."""
        return self.gold if len(self.options) > 1 else self.options[0]

    def is_right(self, scores: Sequence[RowScore]) -> bool:
        """Whether the scores of the options are those of a right answer."""
        if len(scores) == 1:
            return scores[0].greedy_match
        return min(range(len(scores)), key=lambda option: scores[option].nll) == self.gold

    def faults(self) -> list[str]:
        """What makes it dear or its options uneven."""
        uneven = len({len(ids) for ids in self.continuations}) > 1
        found = [f"context of {len(self.context)} tokens"] * (len(self.context) > CONTEXT_LIMIT)
        found += ["options of different numbers of tokens"] * uneven
        return [f"{fault}: {self.query}" for fault in found]


def read_items(name: str, model: EditableModel) -> list[Item]:
    """The items of one set."""
    items = []
    for line in (DIRECTORY / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        options = tuple(row["choices"]) if "choices" in row else (row["target"].strip(),)
        continuations = tuple(tuple(model.answer_ids(row["query"], option)) for option in options)
        items.append(Item(row["query"], options, row.get("gold", 0), tuple(model.encode(row["query"])), continuations))
    return items


# Scores -------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def score(model: EditableModel, rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[RowScore]:
    """What the model makes of each (context, continuation); rows that differ in the last id alone are run once."""
    indices: dict[tuple[int, ...], list[int]] = {}
    for index, (context, continuation) in enumerate(rows):
        indices.setdefault((*context, *continuation[:-1]), []).append(index)
    inputs = sorted(indices, key=len)
    found: dict[int, RowScore] = {}
    for first in range(0, len(inputs), _ROWS_AT_ONCE):
        batch = inputs[first : first + _ROWS_AT_ONCE]
        for ids, logits in zip(batch, _logits(model, batch), strict=True):
            for index in indices[ids]:
                context, continuation = rows[index]
                found[index] = _row_score(logits[len(context) - 1 : len(ids)], continuation)
    return [found[index] for index in range(len(rows))]


def _logits(model: EditableModel, batch: Sequence[Sequence[int]]) -> torch.Tensor:
    width = max(map(len, batch))
    # Attention is causal, so that padding on the right is never seen.
    padded = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in batch], device=model.device)
    logits: torch.Tensor = model.model(padded, use_cache=False).logits
    return logits.float()


def _row_score(logits: torch.Tensor, ids: Sequence[int]) -> RowScore:
    labels = torch.tensor(ids, device=logits.device)
    nll = -float(logits.log_softmax(-1).gather(-1, labels[:, None]).double().sum())
    greedy = math.isfinite(nll) and bool((logits.argmax(-1) == labels).all())
    return RowScore(nll, len(ids), greedy_match=greedy)


def judge(model: EditableModel, items: Sequence[Item], context: Sequence[int] = ()) -> list[bool]:
    """Which items the model gets right, after `context` instead of their own if one is given."""
    scores = iter(score(model, [(context or item.context, ids) for item in items for ids in item.continuations]))
    return [item.is_right([next(scores) for _ in item.continuations]) for item in items]


def me_ppl(model: EditableModel) -> float:
    """ME-PPL of the shipped sentences."""
    texts = [model.encode(text, special_tokens=False) for text in load_texts(DEFAULT_PPL_TEXTS)]
    return perplexity(score(model, [(ids[:1], ids[1:]) for ids in texts])).me_ppl


# What needs no model ------------------------------------------------------------------------------------------


def length_rate(items: Sequence[Item]) -> float:
    """How often the best rule by length is right, with ties broken by lot; NaN without a choice."""
    if any(len(item.options) == 1 for item in items):
        return math.nan
    rules: list[Callable[[Item, int], int]] = [
        lambda item, option: len(item.options[option]),
        lambda item, option: len(item.continuations[option]),
    ]
    return max(fmean(_share(item, rule, sign) for item in items) for rule in rules for sign in (1, -1))


def _share(item: Item, rule: Callable[[Item, int], int], sign: int) -> float:
    lengths = [sign * rule(item, option) for option in range(len(item.options))]
    return (lengths[item.gold] == max(lengths)) / lengths.count(max(lengths))


def constant_rate(items: Sequence[Item]) -> float:
    """How often the best constant answer is right."""
    return max(Counter(item.answer for item in items).values()) / len(items)


# Wrecked models -----------------------------------------------------------------------------------------------


def wrecks(model: EditableModel, count: int, strength: float) -> Iterator[tuple[int, WeightUpdate]]:
    """Blocks in the middle, and random rank-one changes of their MLP output, of `strength` times its norm."""
    for seed in range(count):
        block = WRECKED_BLOCKS[seed % len(WRECKED_BLOCKS)]
        name = model.mlp_output_weight(block)
        random = torch.Generator().manual_seed(seed)
        rows, columns = model.weight_shape(name)
        left, right = torch.randn(rows, 1, generator=random), torch.randn(1, columns, generator=random)
        left *= strength * float(model.parameter(name).norm()) / LowRankDelta(left, right).norm()
        yield block, WeightUpdate({name: LowRankDelta(left.to(model.device), right.to(model.device))})


# Report -------------------------------------------------------------------------------------------------------


def unedited(model: EditableModel, sets: Mapping[str, Sequence[Item]], faults: list[str]) -> Table:
    """One line per set; what breaks a limit is added to `faults`."""
    table = _table(f"unedited {model.name} in float32", "items", "chance", "right", "options alone")
    for column in ("by length", "constant", "tokens", "an item"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, items in sets.items():
        limits = LIMITS[name]
        right = fmean(judge(model, items))
        alone = fmean(judge(model, items, (model.tokenizer.eos_token_id,)))
        length, constant = length_rate(items), constant_rate(items)
        tokens = sum(item.tokens for item in items)
        rates = (limits.chance, right, alone, length, constant)
        cells = ("" if math.isnan(rate) else f"{rate:.3f}" for rate in rates)
        table.add_row(name, str(len(items)), *cells, f"{tokens:,}", f"{tokens / len(items):.1f}")
        faults += [f"{name}: {right:.3f} right, less than {limits.right}"] * (right < limits.right)
        faults += [f"{name}: {alone:.3f} by the options alone, more than {limits.alone}"] * (alone > limits.alone)
        faults += [f"{name}: {rate:.3f} by a cue, more than {limits.cue}" for rate in rates[3:] if rate > limits.cue]
        faults += [f"{name}: {fault}" for item in items for fault in item.faults()]
    every = [item for items in sets.values() for item in items]
    tokens = sum(item.tokens for item in every)
    table.add_row("all", str(len(every)), *[""] * 5, f"{tokens:,}", f"{tokens / len(every):.1f}")
    faults += [f"{tokens} tokens, more than {TOKEN_LIMIT}"] * (tokens > TOKEN_LIMIT)
    return table


def wrecked(
    model: EditableModel, sets: Mapping[str, Sequence[Item]], faults: list[str], count: int, strength: float
) -> Table:
    """One line per wrecked model and their mean; what breaks a limit is added to `faults`."""
    table = _table(f"wrecked: rank-one noise of {strength:g} times the matrix's norm", "block", "ME-PPL", *sets)
    rates: list[list[float]] = []
    for seed, (block, update) in enumerate(wrecks(model, count, strength)):
        with model.applied(update):
            rates.append([fmean(judge(model, items)) for items in sets.values()])
            table.add_row(f"seed {seed}", str(block), f"{me_ppl(model):,.0f}", *(f"{rate:.3f}" for rate in rates[-1]))
    means = [fmean(column) for column in zip(*rates, strict=True)]
    table.add_row("mean", "", "", *(f"{mean:.3f}" for mean in means))
    for name, mean in zip(sets, means, strict=True):
        limits = LIMITS[name]
        far = abs(mean - limits.chance) > limits.wrecked
        faults += [f"{name}: wrecked models reach {mean:.3f}, chance is {limits.chance}"] * far
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table("", title=title)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--wrecked", type=int, default=10, metavar="N", help="wreck this many models")
    parser.add_argument("--strength", type=float, default=100.0, help="norm of the noise over the norm of the matrix")
    parser.add_argument("--misses", action="store_true", help="list the items that the unedited model gets wrong")
    given = parser.parse_args(arguments)
    settings = Settings(editors=(), models=(given.model,), device=given.device, matmul_precision="float32")
    model = load_model(given.model, settings, print)
    sets = {name: read_items(name, model) for name in LIMITS}
    console = Console(width=None if sys.stdout.isatty() else 120)
    faults: list[str] = []
    console.print(unedited(model, sets, faults))
    if given.misses:
        for name, items in sets.items():
            for item in (item for item, right in zip(items, judge(model, items), strict=True) if not right):
                console.print(f"{name}: {item.query} [{item.options[item.gold]}]", markup=False, highlight=False)
    if given.wrecked:
        console.print(wrecked(model, sets, faults, given.wrecked, given.strength))
    for fault in faults:
        console.print(fault, markup=False, highlight=False, soft_wrap=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
