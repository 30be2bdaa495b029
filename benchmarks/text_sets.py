"""How do sets of sentences for ME-PPL compare? Prints what the unedited model makes of each, and how varied it is.

    python -m benchmarks.text_sets --texts default default-1k FILE

    n, tokens       sentences, and tokens predicted in them
    ME-PPL, corpus  of the unedited model: mean of the sentence perplexities, and perplexity over all tokens
    worst           largest perplexity of a sentence
    ten worst       share of the ten largest in the sum of the sentence perplexities, and so in ME-PPL
    pairs           distinct pairs of neighbouring words over all pairs, case ignored; falls with the size of a set
    pairs in 50     the same, as the mean over full slices of 50 sentences, which makes sets of any size comparable

With `--worst N`, also the N sentences of the largest perplexity in each set. collapse_tests/data/README.md holds the
numbers of the shipped sets.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from collapse_tests.datasets.texts import load_texts
from collapse_tests.engine.scoring import Scorer
from collapse_tests.metrics.perplexity import perplexity, perplexity_rows
from collapse_tests.metrics.rows import RowScore
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.loading import load_model
from collapse_tests.settings import DEFAULT_MODEL, DEFAULT_PPL_TEXTS, DEFAULT_SCENARIO_PPL_TEXTS, Settings

_SLICE = 50
_LARGEST = 10


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--texts",
        nargs="+",
        metavar="SET",
        default=[DEFAULT_PPL_TEXTS, DEFAULT_SCENARIO_PPL_TEXTS],
        help="as --ppl-texts of the plugin",
    )
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--worst", type=int, default=0, metavar="N", help="list this many sentences of each set")
    given = parser.parse_args(arguments)
    sets = {source: load_texts(source) for source in given.texts}
    settings = Settings(editors=(), models=(given.model,), device=given.device, matmul_precision="float32")
    model = load_model(given.model, settings, print)
    console = Console()
    table = _table()
    for source, texts in sets.items():
        scores = _scores(model, texts)
        table.add_row(source, *_columns(texts, scores))
        _list_worst(console, source, texts, scores, given.worst)
    console.print(table)


def _scores(model: EditableModel, texts: Sequence[str]) -> list[RowScore]:
    (scores,) = Scorer(model).each([perplexity_rows(model, texts)], [None])
    return scores


def _table() -> Table:
    table = Table("texts", box=SIMPLE_HEAD, collapse_padding=True)
    for header in ("n", "tokens", "ME-PPL", "corpus", "worst", "ten\nworst", "pairs", f"pairs\nin {_SLICE}"):
        table.add_column(header, justify="right", no_wrap=True)
    table.columns[0].overflow = "fold"
    return table


def _columns(texts: Sequence[str], scores: Sequence[RowScore]) -> list[str]:
    whole = perplexity(scores)
    sentences = sorted(_each(scores), reverse=True)
    return [
        f"{whole.sentences:,}",
        f"{whole.tokens:,}",
        f"{whole.me_ppl:,.1f}",
        f"{whole.corpus_ppl:,.1f}",
        f"{sentences[0]:,.0f}",
        f"{sum(sentences[:_LARGEST]) / sum(sentences):.1%}",
        f"{_distinct_pairs(texts):.3f}",
        f"{fmean(_distinct_pairs(part) for part in _slices(texts)):.3f}",
    ]


def _each(scores: Sequence[RowScore]) -> list[float]:
    """Perplexity of every sentence."""
    return [perplexity([score]).me_ppl for score in scores]


def _slices(texts: Sequence[str]) -> list[Sequence[str]]:
    """Full slices of the set, or the set where it is too small for one."""
    full = range(0, len(texts) - _SLICE + 1, _SLICE)
    return [texts[first : first + _SLICE] for first in full] or [texts]


def _distinct_pairs(texts: Sequence[str]) -> float:
    words = (re.findall(r"\w+(?:'\w+)*", text.lower()) for text in texts)
    pairs = [pair for sentence in words for pair in pairwise(sentence)]
    return len(set(pairs)) / max(len(pairs), 1)


def _list_worst(console: Console, source: str, texts: Sequence[str], scores: Sequence[RowScore], count: int) -> None:
    ranked = sorted(zip(_each(scores), texts, strict=True), reverse=True)
    for value, text in ranked[:count]:
        console.print(f"{source}: {value:,.0f}: {text!r}", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
