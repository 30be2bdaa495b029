"""The data card of built sets: enough to judge them, and to build them again.

It holds no date, so that the same command on the same text writes the same card.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

from collapse_tests import __version__
from collapse_tests.datasets.sentences.building import Built, Plan, Tally
from collapse_tests.datasets.sentences.corpora import Corpus
from collapse_tests.datasets.sentences.filters import Rejection

__all__ = ["data_card"]

_LIBRARIES = ("sentencex", "py3langid", "datasets", "huggingface_hub")

_LICENCE = """\
Each sentence is under the terms of the corpus it is from; this file grants nothing. Corpora of web text and books hold
works under copyright. Look at the terms of every corpus above before you pass a set on."""


def data_card(plan: Plan, built: Built, files: Mapping[str, tuple[int, str]], command: str) -> str:
    """The card as Markdown.

    Args:
        plan: what was asked for.
        built: what was made.
        files: of each file written, by name, the number of its sentences and the SHA-256 of its bytes.
        command: the command line.
    """
    blocks = [
        "# Sentences for ME-PPL",
        "Sampled after appendix A.4 of 'The Butterfly Effect of Model Editing'. The sets are nested: each file begins "
        "with the next smaller one. Use one with `pytest --ppl-texts FILE`.",
        f"    {command}",
        f"Seed {plan.seed}. Made with {', '.join(_versions())}.",
        _table(("file", "sentences", "SHA-256"), [(f"`{n}`", f"{c:,}", f"`{d}`") for n, (c, d) in files.items()]),
        "## Corpora",
        "\n".join(_corpus_line(corpus, built.tallies[corpus.name]) for corpus in plan.corpora),
        "## Sentences",
        _table(("", *built.tallies, "all"), _count_rows(built)),
        f"Reasons are in the order in which they are looked for; a sentence has the first that applies. "
        f"'{Rejection.LANGUAGE.value}' is asked last and only of sentences that would enter the sample, so its number "
        "is out of these and not of all. The sample of a corpus is uniform over its distinct sentences, whatever their "
        "number of repetitions; repetitions are counted where the sentence is in the sample or in that of a corpus "
        "before. Quotation marks, dashes and ellipses are replaced by their ASCII forms, white space by single spaces; "
        "the mark that ends a sentence is left out.",
        "## Licence",
        _LICENCE,
    ]
    return "\n\n".join(blocks) + "\n"


def _versions() -> Iterator[str]:
    yield f"pytest-collapse {__version__}"
    yield f"Python {platform.python_version()}"
    for name in _LIBRARIES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            continue


def _corpus_line(corpus: Corpus, tally: Tally) -> str:
    parts = "".join(f"\n  - {name}: {found}" for name, found in tally.identity)
    return f"- {corpus.name}: `{corpus.source}`{f', field `{corpus.field}`' if corpus.field else ''}{parts}"


def _count_rows(built: Built) -> list[Sequence[str]]:
    tallies = list(built.tallies.values())

    def row(label: str, counts: Sequence[int]) -> Sequence[str]:
        return (label, *(f"{count:,}" for count in (*counts, sum(counts))))

    rows = [
        row("documents", [tally.documents for tally in tallies]),
        row("sentences", [tally.sentences for tally in tallies]),
        *(row(reason.value, [tally.rejected[reason] for tally in tallies]) for reason in Rejection),
        row("repeated", [tally.repeated for tally in tallies]),
        row("not drawn", [tally.not_drawn for tally in tallies]),
        row("wanted", [tally.wanted for tally in tallies]),
    ]
    for size, sentences in built.sets.items():
        counts = [sum(one.corpus == name for one in sentences) for name in built.tallies]
        rows.append(row(f"in the set of {size:,}", counts))
    return rows


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |" for cells in (head, rule, *rows))
