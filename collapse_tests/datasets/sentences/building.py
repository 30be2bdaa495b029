"""Corpora to sets of sentences: check, read once, sample, and nest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from collapse_tests.datasets.sentences.corpora import Corpus, Source, open_source
from collapse_tests.datasets.sentences.filters import (
    LanguageCheck,
    Rejection,
    load_language_check,
    normalised,
    rejection,
    without_end,
)
from collapse_tests.datasets.sentences.sampling import Reservoir, apportion, identity, in_layers
from collapse_tests.datasets.sentences.splitting import Splitter, load_splitter
from collapse_tests.errors import UsageError

__all__ = ["Advance", "Built", "Plan", "Row", "Tally", "build"]

Advance = Callable[[str, int, int], None]
"""Takes what is being done, the bytes since it was last called, and the bytes in all."""


class Row(NamedTuple):
    """A sentence of a set and the name of its corpus."""

    corpus: str
    text: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to build.

    Attributes:
        corpora: in the order in which one of several with the same sentence keeps it.
        shares: of the sentences, by corpus.
        size: sentences in all.
        subsets: sizes of the smaller sets, falling.
        seed: of the draw.
        hub_bytes: text to read of each corpus of the hub.
        allow_fewer: whether a corpus may have too few.
    """

    corpora: tuple[Corpus, ...]
    shares: Mapping[str, int]
    size: int
    subsets: tuple[int, ...]
    seed: int
    hub_bytes: int
    allow_fewer: bool


@dataclass(slots=True)
class Tally:
    """What became of the sentences of a corpus; the numbers add up to `sentences`.

    Attributes:
        identity: what was read, by name: digest or revision.
        wanted: sentences the sample should have.
        documents: read.
        sentences: found in them.
        rejected: by reason. Only sentences that would enter the sample are asked for their language.
        repeated: the same as one that is in the sample, or was taken from a corpus before.
        not_drawn: usable as far as looked at, and left out by the draw.
        sampled: in the sample.
    """

    identity: list[tuple[str, str]]
    wanted: int
    documents: int = 0
    sentences: int = 0
    rejected: Counter[Rejection] = field(default_factory=Counter)
    repeated: int = 0
    not_drawn: int = 0
    sampled: int = 0


@dataclass(frozen=True, slots=True)
class Built:
    """Nested sets.

    Attributes:
        sets: by the size asked for, the largest first; each begins with the next.
        corpora: those of the plan, from the very text that was read.
        tallies: by corpus.
    """

    corpora: tuple[Corpus, ...]
    sets: Mapping[int, Sequence[Row]]
    tallies: Mapping[str, Tally]


def build(plan: Plan, advance: Advance) -> Built:
    """Check every corpus, then read each one.

    Raises:
        UsageError: a corpus cannot be read, a library is missing, or a corpus has too few sentences.
    """
    split, is_english = load_splitter(), load_language_check()
    wanted = apportion(plan.size, plan.shares)
    sources = {corpus: open_source(corpus, seed=plan.seed, hub_bytes=plan.hub_bytes) for corpus in plan.corpora}
    tallies = {
        corpus.name: Tally(source.check(_telling(advance, f"checking {corpus.name}", source)), wanted[corpus.name])
        for corpus, source in sources.items()
    }
    taken: set[str] = set()
    sample: dict[str, list[str]] = {}
    for corpus, source in sources.items():
        tally = tallies[corpus.name]
        reservoir = Reservoir(tally.wanted, plan.seed, corpus.name)
        _read(source, _telling(advance, f"reading {corpus.name}", source), split, is_english, reservoir, taken, tally)
        drawn = reservoir.drawn()
        tally.sampled = len(drawn)
        taken |= drawn.keys()
        sample[corpus.name] = list(drawn.values())
    _check_counts(plan, tallies)
    layers = in_layers(sample, plan.subsets, plan.seed)
    sets = {size: [Row(*row) for row in rows] for size, rows in zip((plan.size, *plan.subsets), layers, strict=True)}
    read = tuple(replace(corpus, source=source.source) for corpus, source in sources.items())
    return Built(read, sets, tallies)


def _telling(advance: Advance, what: str, source: Source) -> Callable[[int], None]:
    return lambda count: advance(what, count, source.total)


def _read(
    source: Source,
    advance: Callable[[int], None],
    split: Splitter,
    is_english: LanguageCheck,
    reservoir: Reservoir,
    taken: set[str],
    tally: Tally,
) -> None:
    """Offer every sentence of a corpus to its sample."""
    for document in source.documents(advance):
        tally.documents += 1
        for sentence in map(normalised, split(document)):
            tally.sentences += 1
            reason = rejection(sentence)
            if reason is not None:
                tally.rejected[reason] += 1
            else:
                _offer(without_end(sentence), is_english, reservoir, taken, tally)


def _offer(sentence: str, is_english: LanguageCheck, reservoir: Reservoir, taken: set[str], tally: Tally) -> None:
    key = identity(sentence)
    number = reservoir.number(key)
    if key in reservoir or key in taken:
        tally.repeated += 1
    elif not reservoir.wants(number):
        tally.not_drawn += 1
    elif not is_english(sentence):  # last, as it takes ten times as long as everything before it
        tally.rejected[Rejection.LANGUAGE] += 1
    elif reservoir.add(number, key, sentence):
        tally.not_drawn += 1


def _check_counts(plan: Plan, tallies: Mapping[str, Tally]) -> None:
    short = [
        f"{corpus} has {tally.sampled:,} usable sentences of {tally.wanted:,} wanted"
        for corpus, tally in ((corpus, tallies[corpus.name]) for corpus in plan.corpora)
        if tally.sampled < tally.wanted
    ]
    if not any(tally.sampled for tally in tallies.values()):
        raise UsageError(f"no corpus has a usable sentence ({'; '.join(short)}); give corpora of English prose")
    if short and not plan.allow_fewer:
        raise UsageError(
            f"too few sentences: {'; '.join(short)}. Give more text (for the hub: a larger --hub-megabytes), a smaller "
            "--size, or --allow-fewer to take what there is"
        )
