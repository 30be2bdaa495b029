"""The texts that keys are counted over, as rows of token ids: the model's own, the user's, or a hub data set's.

The default is text that the model writes itself, one token after the other at temperature 1. Nothing is downloaded,
every model has it, and by the model's own measure it is distributed like what the model was trained on.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from collapse_tests.cache import atomic_write_text, exclusive
from collapse_tests.datasets.documents import document_text
from collapse_tests.datasets.hub import HUB_PREFIX, hub_set
from collapse_tests.datasets.reading import parse_json, read_user_file
from collapse_tests.editors.protocol import EditorContext, Progress
from collapse_tests.errors import UsageError
from collapse_tests.models.attention import KeyValues
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.memory import in_halves
from collapse_tests.models.workload import generated_rows

__all__ = ["GENERATED", "corpus_rows", "digest_of_rows"]

#: Name of the corpus that the model writes itself.
GENERATED = "generated"

#: Longest row. A generated one costs time in proportion to its square; in a read one, a document's end is the more
#: often cut off from its beginning the shorter rows are.
_GENERATED_LENGTH = 256
_READ_LENGTH = 1024
#: Documents that are tokenised in one call, and that a stream from the hub is shuffled within.
_DOCUMENTS = 64
_SHUFFLED = 2000
_SUFFIXES = (".txt", ".json", ".jsonl")


def corpus_rows(model: EditableModel, corpus: str, tokens: int, context: EditorContext) -> list[list[int]]:
    """Rows of token ids, `tokens` in all, or fewer where a file holds no more.

    Args:
        model: unedited; it writes the generated corpus, and its tokenizer reads the others.
        corpus: `generated`, `hub:ORG/NAME[/CONFIG][@REVISION]`, or a path: `.txt` with one document a line, `.json`
            with a list, `.jsonl` with a value a line; a value is a string or an object with a `text`.
        tokens: how many are wanted.
        context: seeds what is written or which documents are taken. Its cache keeps generated rows, so that a killed
            run goes on where it was and a longer corpus begins with the shorter one, and rows from the hub.

    Raises:
        UsageError: the file or data set cannot be read or holds no text.
    """
    if corpus == GENERATED:
        return _cut(_generated(model, tokens, context), tokens)
    if corpus.startswith(HUB_PREFIX):
        return _from_hub(model, corpus, tokens, context)
    documents = _read_documents(corpus)
    random.Random(context.seed).shuffle(documents)
    return _tokenised(model, documents, tokens)


def digest_of_rows(rows: Sequence[Sequence[int]]) -> str:
    """Name of a corpus by its content, 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for row in rows:
        digest.update(np.asarray([len(row), *row], dtype="<i8").tobytes())
    return digest.hexdigest()


def _cut(rows: Iterable[list[int]], tokens: int) -> list[list[int]]:
    """The first rows, `tokens` in all; the last one loses what is too many."""
    kept: list[list[int]] = []
    for row in rows:
        if tokens <= 0:
            break
        kept.append(row[:tokens])
        tokens -= len(row)
    return kept


# Written by the model ---------------------------------------------------------------------------------------------


def _generated(model: EditableModel, tokens: int, context: EditorContext) -> list[list[int]]:
    """At least `tokens` tokens in rows of one length, from the cache as far as it has them."""
    length = min(_GENERATED_LENGTH, model.max_length)
    needed = -(-tokens // length)
    if context.cache is None:
        return _extended(model, [], needed, length, context, None)
    name = _key(GENERATED, model.digest, model.precision.value, length, context.seed)
    path = context.cache / "moments" / "corpora" / f"{name}.json"
    rows = _cached_rows(path)
    if len(rows) >= needed:
        return rows
    with exclusive(path, lambda line: context.progress(line, 0, 1)):
        return _extended(model, _cached_rows(path), needed, length, context, path)


def _extended(
    model: EditableModel, rows: list[list[int]], needed: int, length: int, context: EditorContext, path: Path | None
) -> list[list[int]]:
    """`rows` and further ones up to `needed`, written to `path` after every batch."""
    batch = generated_rows(model)
    progress = _Counter(context.progress, f"text written by {model.name}", len(rows) * length, needed * length)
    while len(rows) < needed:
        numbers = range(len(rows), min(len(rows) + batch, needed))
        rows = [*rows, *in_halves(lambda some: _write_rows(model, some, length, context.seed, progress.add), numbers)]
        if path is not None:
            _store_rows(path, rows)
    return rows


class _Counter:
    """Tokens written, told to a `Progress` as they grow; never more than there will be, though memory ran out."""

    def __init__(self, progress: Progress, stage: str, done: int, total: int) -> None:
        self._progress, self._stage, self._done, self._total = progress, stage, done, total

    def add(self, tokens: int) -> None:
        """Report `tokens` more."""
        self._done = min(self._done + tokens, self._total)
        self._progress(self._stage, self._done, self._total)


@torch.no_grad()
def _write_rows(
    model: EditableModel, numbers: Sequence[int], length: int, seed: int, written: Callable[[int], None]
) -> list[list[int]]:
    """Rows of `length` tokens by ancestral sampling.

    A row runs over end tokens as rows of training do: what follows one is the next document. Each row has random
    numbers of its own, so that it does not depend on which rows are written with it. `written` is told how many
    tokens each step has added.
    """
    draws = np.stack([np.random.default_rng((seed, number)).random(length) for number in numbers])
    uniform = torch.from_numpy(draws).to(model.device, torch.float32)
    ids = _starts(model, draws[:, 0])
    store = _GrowingKeyValues(length)
    with model.fast_kernels():
        for position in range(length - 1):
            positions = torch.full_like(ids[:, -1:], position)
            hidden = model.run_blocks(model.embed(ids[:, -1:], positions), 0, positions=positions, keys=store)
            ids = torch.cat([ids, _drawn(model.head(hidden[:, -1]), uniform[:, position + 1])], 1)
            written(len(numbers))
    rows: list[list[int]] = ids.tolist()
    return rows


def _starts(model: EditableModel, draws: np.ndarray[Any, Any]) -> torch.Tensor:
    """First tokens (rows, 1): the start token, else the end token, else any token of the tokenizer."""
    start = model.tokenizer.bos_token_id
    if start is None:
        start = model.tokenizer.eos_token_id
    if start is not None:
        return torch.full((len(draws), 1), int(start), device=model.device)
    vocabulary = min(len(model.tokenizer), model.vocabulary_size)
    return torch.from_numpy((draws * vocabulary).astype(np.int64))[:, None].to(model.device)


def _drawn(logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """One token per row, (rows, 1), by inverting the distribution function at `uniform` (rows,)."""
    # Much cheaper than `torch.multinomial`, which draws a random number per token of the vocabulary.
    summed = logits.float().softmax(-1).cumsum(-1)
    found = torch.searchsorted(summed, uniform[:, None] * summed[:, -1:], right=True)
    return found.clamp_max(logits.shape[-1] - 1)


class _GrowingKeyValues(KeyValues):
    """Keeps every layer's keys and values and gives back all so far, in tensors made once.

    Args:
        length: columns to make room for.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._filled: dict[int, int] = {}

    def attended(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if layer not in self._layers:
            self._layers[layer] = (self._room(keys), self._room(values))
            self._filled[layer] = 0
        start = self._filled[layer]
        end = self._filled[layer] = start + keys.shape[2]
        all_keys, all_values = self._layers[layer]
        all_keys[:, :, start:end], all_values[:, :, start:end] = keys, values
        return all_keys[:, :, :end], all_values[:, :, :end]

    def _room(self, states: torch.Tensor) -> torch.Tensor:
        rows, heads, _, size = states.shape
        return states.new_empty(rows, heads, self._length, size)


# Read -------------------------------------------------------------------------------------------------------------


def _tokenised(model: EditableModel, documents: Iterable[str], tokens: int) -> list[list[int]]:
    """Rows of the first documents, `tokens` in all; a document longer than a row makes several."""
    longest = min(_READ_LENGTH, model.max_length)
    rows: list[list[int]] = []
    found = 0
    remaining = iter(documents)
    while found < tokens and (batch := list(itertools.islice(remaining, _DOCUMENTS))):
        for ids in model.tokenizer(batch, verbose=False)["input_ids"]:
            rows += [ids[first : first + longest] for first in range(0, len(ids), longest)]
            found += len(ids)
    return _cut(rows, tokens)


def _read_documents(source: str) -> list[str]:
    """The documents of a user's file, blank ones left out.

    Raises:
        UsageError: it cannot be read, is of another layout, or holds nothing.
    """
    text = read_user_file("corpus", source, shipped=(GENERATED,), suffixes=_SUFFIXES)
    where = f"corpus {source!r}"
    match Path(source).suffix.lower():
        case ".txt":
            values: list[object] = list(text.replace("\r\n", "\n").split("\n"))
        case ".jsonl":
            lines = enumerate(text.split("\n"), start=1)
            values = [parse_json(line, where, first_line=number) for number, line in lines if line.strip()]
        case _:
            document = parse_json(text, where)
            if not isinstance(document, list):
                raise UsageError(f"{where} is no JSON list; give a list of strings or of objects with a 'text'")
            values = document
    documents = [_text_of(value, f"{where}, document {index}") for index, value in enumerate(values)]
    documents = [document for document in documents if document.strip()]
    if not documents:
        raise UsageError(f"{where} holds no text; give a file with some, or {GENERATED!r} for the model's own")
    return documents


def _text_of(value: object, where: str) -> str:
    text = document_text(value, None, where)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(f"{where}: the text holds half a surrogate pair; write the character itself") from None
    return text


# From the hub -----------------------------------------------------------------------------------------------------


def _from_hub(model: EditableModel, corpus: str, tokens: int, context: EditorContext) -> list[list[int]]:
    """Rows of a hub data set, which need no network once they are cached."""
    if context.cache is None:
        return _read_hub(model, corpus, tokens, context.seed)
    path = context.cache / "moments" / "corpora" / f"{_key(corpus, model.digest, tokens, context.seed)}.json"
    with exclusive(path, lambda line: context.progress(line, 0, 1)):
        rows = _cached_rows(path)
        if not rows:
            context.progress(f"texts of {corpus}", 0, tokens)
            rows = _read_hub(model, corpus, tokens, context.seed)
            _store_rows(path, rows)
    return rows


def _read_hub(model: EditableModel, corpus: str, tokens: int, seed: int) -> list[list[int]]:
    """Rows of documents that are streamed in an order drawn with `seed`; blank ones are left out.

    Raises:
        UsageError: the data set cannot be read or holds no text.
    """
    where = f"corpus {corpus!r}"
    remedy = f"give {GENERATED!r} for the model's own text, or the path of a text file"
    documents = hub_set(corpus, where, remedy).shuffled(seed, _SHUFFLED)
    rows = _tokenised(model, filter(None, map(str.strip, documents)), tokens)
    if not rows:
        raise UsageError(f"{where} holds no text in its training split; {remedy}")
    return rows


# The cache --------------------------------------------------------------------------------------------------------


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _cached_rows(path: Path) -> list[list[int]]:
    """Rows that have been stored; none if there are none or the file is damaged."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        rows: list[list[int]] = stored["rows"]
        whole = digest_of_rows(rows) == stored["digest"]
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return []
    return rows if whole else []


def _store_rows(path: Path, rows: Sequence[Sequence[int]]) -> None:
    atomic_write_text(path, json.dumps({"digest": digest_of_rows(rows), "rows": rows}))
