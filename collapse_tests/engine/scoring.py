"""Scores rows of tokens under many weight updates side by side.

An edit at block L changes nothing below L, so the input of block L is computed once per row and kept. Low-rank
updates then share forward passes: every row adds its own case's update to the edited layers' outputs, and no
weight is written. Dense updates are written, measured and reverted one after the other, from the same cached
states on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, islice

import torch

from collapse_tests.engine.buckets import Bucket, additive
from collapse_tests.metrics.rows import Layout, Row, RowScore
from collapse_tests.models.batching import length_buckets
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.memory import TokenBudget
from collapse_tests.models.workload import kept_tokens, logits_per_slice, pass_overhead, scoring_budget
from collapse_tests.weight_update import WeightUpdate

__all__ = ["RowCache", "Scorer"]


class RowCache:
    """Rows that are scored for every case, with their hidden states below the edited block.

    Args:
        rows: the rows.
        predict: whether scores say which ids the model predicts, too.
    """

    def __init__(self, rows: Sequence[Row], *, predict: bool = False) -> None:
        self.layouts = [row.layout() for row in rows]
        self.predict = predict
        self.made_for: tuple[int, int, int] | None = None  # block, token budget, cases side by side
        self.buckets: list[Bucket] = []


class Scorer:
    """Scores rows on one model; a forked row gets a score for every continuation, any other row one.

    Args:
        model: the model; unedited whenever a method is called, except `as_is` and `each` without updates.
        max_tokens: padded tokens per forward pass, or None to choose by the device.
    """

    def __init__(self, model: EditableModel, max_tokens: int | None = None) -> None:
        self.model = model
        self.budget = scoring_budget(model) if max_tokens is None else TokenBudget(max_tokens)

    @torch.no_grad()
    def shared(self, cache: RowCache, updates: Sequence[WeightUpdate]) -> list[list[RowScore]]:
        """Scores of the same rows under each update, `[update][row]`."""
        return self._in_bulk(cache.layouts, lambda: self._shared(cache, updates))

    def _shared(self, cache: RowCache, updates: Sequence[WeightUpdate]) -> list[list[RowScore]]:
        block = self._first_block(updates)
        buckets = self._buckets(cache, block, len(updates))
        slots = [_Slots(cache.layouts) for _ in updates]
        for bucket in buckets:
            # No more cases side by side than fit one forward pass.
            width = max(1, self.budget.tokens // bucket.start.shape[:2].numel())
            for first in range(0, len(updates), width):
                chunk = updates[first : first + width]
                found = self._shared_chunk(bucket, block, chunk, predict=cache.predict)
                for case, case_scores in enumerate(found):
                    slots[first + case].put(bucket.indices, bucket.layouts, case_scores)
        return [case.scores() for case in slots]

    @torch.no_grad()
    def as_is(self, cache: RowCache, block: int) -> list[RowScore]:
        """Scores of cached rows on the weights as they now are, of which those from `block` on may be edited.

        The hidden states below come from the cache, or fill it: that block has to be one below which nothing has been
        edited since the rows were cached; -1 for the embeddings.
        """

        def score() -> list[list[RowScore]]:
            slots = _Slots(cache.layouts)
            for bucket in self._buckets(cache, block, 1):
                scores = self._score(bucket, self._run(bucket, block), predict=cache.predict)
                slots.put(bucket.indices, bucket.layouts, scores)
            return [slots.scores()]

        (scores,) = self._in_bulk(cache.layouts, score)
        return scores

    @torch.no_grad()
    def each(self, rows: Sequence[Sequence[Row]], updates: Sequence[WeightUpdate | None]) -> list[list[RowScore]]:
        """Scores of each case's own rows under its own update (None: as the model is), with the predicted ids."""
        layouts = [[row.layout() for row in case] for case in rows]
        flat = [layout for case in layouts for layout in case]
        return self._in_bulk(flat, lambda: self._each(layouts, updates))

    def _in_bulk(self, layouts: Sequence[Layout], score: Callable[[], list[list[RowScore]]]) -> list[list[RowScore]]:
        """`score()` with fast kernels, and with fewer tokens at a time where memory runs out."""
        with self.model.fast_kernels():
            return self.budget.run(score, least=max((len(layout.ids) for layout in layouts), default=1))

    def _each(
        self, layouts: Sequence[Sequence[Layout]], updates: Sequence[WeightUpdate | None]
    ) -> list[list[RowScore]]:
        flat = [layout for case in layouts for layout in case]
        owner = [case for case, case_layouts in enumerate(layouts) for _ in case_layouts]
        real = [update for update in updates if update is not None]
        block = self._first_block(real)
        slots = _Slots(flat)
        for bucket in self._fill(flat, block, pass_overhead(self.model)):
            owners = [owner[index] for index in bucket.indices]
            slots.put(bucket.indices, bucket.layouts, self._owned(bucket, block, owners, updates))
        done = iter(slots.scores())
        return [list(islice(done, sum(layout.scores for layout in case))) for case in layouts]

    # Which rows share a forward pass ----------------------------------------------------------------------

    def _buckets(self, cache: RowCache, block: int, cases: int) -> Iterable[Bucket]:
        """The cached rows' states at `block`; states at another block are dropped first to keep memory flat.

        Cases that pass side by side share what a pass costs beside its tokens, so the more, the less padding pays.
        Rows too many to keep, as those of a large task, get their states anew, one bucket at a time.
        """
        tokens = sum(len(layout.ids) for layout in cache.layouts)
        beside = max(1, min(cases, self.budget.tokens // max(1, tokens)))
        made_for = block, self.budget.tokens, beside
        if cache.made_for != made_for:
            cache.buckets, cache.made_for = [], None
            buckets = self._fill(cache.layouts, block, pass_overhead(self.model) / beside)
            if tokens > kept_tokens(self.model):
                return buckets
            cache.buckets = list(buckets)
            cache.made_for = made_for
        return cache.buckets

    def _fill(self, layouts: Sequence[Layout], block: int, overhead: float) -> Iterator[Bucket]:
        lengths = [len(layout.ids) for layout in layouts]
        for group in length_buckets(lengths, max_tokens=self.budget.tokens, overhead=overhead):
            yield self._bucket(group, [layouts[index] for index in group], block)

    def _bucket(self, group: list[int], layouts: list[Layout], block: int) -> Bucket:
        def start(ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
            if block < 0:
                return ids
            hidden = self.model.embed(ids, positions)
            return self.model.run_blocks(hidden, 0, block, positions=positions, mask=additive(mask, hidden.dtype))

        return Bucket.of(group, layouts, self.model.device, start)

    def _first_block(self, updates: Sequence[WeightUpdate]) -> int:
        """The lowest block that any update touches, -1 for the embeddings."""
        names = {name for update in updates for name in update.deltas}
        return min((self.model.block_of(name) for name in names), default=self.model.n_blocks)

    # Forward passes ---------------------------------------------------------------------------------------

    def _run(self, bucket: Bucket, block: int, copies: int = 1) -> torch.Tensor:
        """Hidden states after the last block of `copies` of a bucket's rows."""
        start, positions = (torch.cat([tensor] * copies) for tensor in (bucket.start, bucket.positions))
        hidden = self.model.embed(start, positions) if block < 0 else start
        mask = additive(bucket.mask, hidden.dtype)
        if mask is not None:
            mask = torch.cat([mask] * copies)
        return self.model.run_blocks(hidden, max(block, 0), positions=positions, mask=mask)

    def _shared_chunk(
        self, bucket: Bucket, block: int, updates: Sequence[WeightUpdate], *, predict: bool
    ) -> list[list[RowScore]]:
        if not all(self.model.shareable(update) for update in updates):
            chunks: list[list[RowScore]] = []
            for update in updates:
                with self.model.applied(update):
                    chunks.append(self._score(bucket, self._run(bucket, block), predict=predict))
            return chunks
        rows, count = len(bucket.indices), len(updates)
        case_of_row = torch.arange(count, device=self.model.device).repeat_interleave(rows)
        with self.model.side_by_side(updates, case_of_row):
            hidden = self._run(bucket, block, count)
        return [self._score(bucket, part, predict=predict) for part in torch.split(hidden, rows)]

    def _owned(
        self, bucket: Bucket, block: int, owners: Sequence[int], updates: Sequence[WeightUpdate | None]
    ) -> list[RowScore]:
        """Scores of a bucket's rows, each under its owner's update."""
        parts: dict[int | None, list[int]] = {}  # None: all that can pass side by side
        for row, case in enumerate(owners):
            update = updates[case]
            parts.setdefault(None if update is None or self.model.shareable(update) else case, []).append(row)
        slots = _Slots(bucket.layouts)
        for written, rows in parts.items():
            part = bucket.select(rows)
            with self._edited([owners[row] for row in rows], updates, written=written):
                slots.put(rows, part.layouts, self._score(part, self._run(part, block), predict=True))
        return slots.scores()

    @contextmanager
    def _edited(
        self, owners: Sequence[int], updates: Sequence[WeightUpdate | None], written: int | None
    ) -> Iterator[None]:
        """Rows under the update of the case `written`, or, side by side, each under its owner's."""
        if written is not None:
            update = updates[written]
            assert update is not None
            with self.model.applied(update):
                yield
            return
        edited = [case for case in dict.fromkeys(owners) if updates[case] is not None]
        place = {case: index for index, case in enumerate(edited)}
        case_of_row = torch.tensor([place.get(case, len(edited)) for case in owners], device=self.model.device)
        with self.model.side_by_side([update for case in edited if (update := updates[case])], case_of_row):
            yield

    def _score(self, bucket: Bucket, hidden: torch.Tensor, *, predict: bool) -> list[RowScore]:
        """Scores of a bucket's rows from the hidden states after the last block, a slice of logits at a time."""
        labels = bucket.labels
        predicting = hidden[labels.place_rows, labels.place_columns]
        width = max(1, logits_per_slice(self.model) // self.model.vocabulary_size)
        losses, best = [], []
        for first in range(0, len(predicting), width):
            logits = self.model.head(predicting[first : first + width])
            logits = logits.to(torch.promote_types(self.model.dtype, torch.float32))
            here = labels.slice(first, first + len(logits))
            places = labels.places[here] - first
            losses.append(logits.logsumexp(-1)[places] - logits[places, labels.ids[here]])
            if predict:
                best.append(logits.argmax(-1)[places])
        return labels.scores(torch.cat(losses).double(), torch.cat(best) if predict else None)


class _Slots:
    """Puts the scores of buckets in the order of the rows they came from."""

    def __init__(self, layouts: Sequence[Layout]) -> None:
        self._first = list(accumulate((layout.scores for layout in layouts), initial=0))
        self._scores: list[RowScore | None] = [None] * self._first[-1]

    def put(self, rows: Sequence[int], layouts: Sequence[Layout], scores: Sequence[RowScore]) -> None:
        """Take the scores of some rows."""
        given = iter(scores)
        for row, layout in zip(rows, layouts, strict=True):
            first = self._first[row]
            self._scores[first : first + layout.scores] = islice(given, layout.scores)

    def scores(self) -> list[RowScore]:
        """All of them."""
        return [score for score in self._scores if score is not None]
