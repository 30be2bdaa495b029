"""The ends of rows whose beginnings are constants, so that only the ends are run again and again.

Attention is causal: what is added to a row from some column on changes nothing before that column, in any block.
The keys and values of the columns before it are therefore computed once and kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from collapse_tests.models.attention import PrefixKeyValues, RecordingKeyValues, aligned, prefix_mask
from collapse_tests.models.editable import EditableModel

__all__ = ["SuffixRows", "cut_suffixes"]


@dataclass(frozen=True, slots=True)
class SuffixRows:
    """Rows from a column of their own on; S columns, those that end earlier repeat their last one.

    Attributes:
        start: block that the rows are run from.
        hidden: (rows, S, hidden size) input of that block.
        positions: (rows, S) absolute positions.
        mask: (rows, 1, S, prefix columns + S) additive attention mask.
        prefix: keys and values before the first column, in blocks `start` and up; None if no row has any.
    """

    start: int
    hidden: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    prefix: PrefixKeyValues | None

    def select(self, rows: torch.Tensor) -> SuffixRows:
        """Some of the rows, by index."""
        return SuffixRows(
            start=self.start,
            hidden=self.hidden[rows],
            positions=self.positions[rows],
            mask=self.mask[rows],
            prefix=None if self.prefix is None else self.prefix.select(rows),
        )

    @classmethod
    def joined(cls, parts: Sequence[SuffixRows]) -> SuffixRows:
        """The rows of several parts of one width and number of columns, in their order."""
        prefixes = [part.prefix for part in parts if part.prefix is not None]
        return cls(
            start=parts[0].start,
            hidden=torch.cat([part.hidden for part in parts]),
            positions=torch.cat([part.positions for part in parts]),
            mask=torch.cat([part.mask for part in parts]),
            prefix=PrefixKeyValues.joined(prefixes) if prefixes else None,
        )

    def run(self, model: EditableModel, added: torch.Tensor) -> torch.Tensor:
        """Hidden states after the last block, (rows, S, hidden size), with `added` (rows, hidden size) to column 0."""
        first = self.hidden[:, :1] + added[:, None].to(self.hidden.dtype)
        hidden = torch.cat([first, self.hidden[:, 1:]], 1)
        return model.run_blocks(hidden, self.start, positions=self.positions, mask=self.mask, keys=self.prefix)


def cut_suffixes(
    model: EditableModel,
    hidden: torch.Tensor,
    first: torch.Tensor,
    lengths: torch.Tensor,
    start: int,
    *,
    width: int,
    columns: int,
) -> SuffixRows:
    """The rows from column `first` on.

    Args:
        model: unedited.
        hidden: (rows, length, hidden size) input of block `start`, padded on the right.
        first: (rows,) first column to keep.
        lengths: (rows,) real columns of each row, more than `first`.
        start: block to run the suffixes from.
        width: columns to pad the prefixes to, no fewer than any row has; 0 if no row has a prefix.
        columns: S, no fewer than any suffix has.
    """
    own = int(first.max())
    prefix = None
    if width and start < model.n_blocks:
        recorded = RecordingKeyValues()
        model.run_blocks(hidden[:, : max(own, 1)], start, keys=recorded)
        prefix = PrefixKeyValues(recorded.layers).padded(aligned(width, hidden.device))
    positions = torch.minimum(first[:, None] + torch.arange(columns, device=first.device), lengths[:, None] - 1)
    return SuffixRows(
        start=start,
        hidden=hidden.gather(1, positions[..., None].expand(-1, -1, hidden.shape[-1])),
        positions=positions,
        mask=prefix_mask(first, 0 if prefix is None else prefix.width, columns, hidden.dtype),
        prefix=prefix,
    )
