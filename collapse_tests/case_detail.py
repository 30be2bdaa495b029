"""More about one case than its record holds: what a page about it shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from collapse_tests.plain_data import encode, number
from collapse_tests.records import check_schema

__all__ = ["DETAIL_SCHEMA_VERSION", "CaseDetail", "HeatMap", "SentenceChange"]

DETAIL_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class SentenceChange:
    """One sentence of ME-PPL: its text, shortened, and its perplexity before and after the edit."""

    text: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class HeatMap:
    """The change of one weight matrix, in a grid coarse enough to look at.

    Attributes:
        parameter: name of the matrix.
        shape: its (rows, columns).
        cells: mean |ΔW| in each cell of the grid, row by row; a row and a column of cells each cover about the same
            number of rows and columns of the matrix.
        norm: ‖ΔW‖ over ‖W‖ of the matrix.
    """

    parameter: str
    shape: tuple[int, int]
    cells: tuple[tuple[float, ...], ...]
    norm: float


@dataclass(frozen=True, slots=True)
class CaseDetail:
    """Of a case that did not come out stable, and of some that did, to compare with.

    Attributes:
        case_id: of the case.
        sentences: those whose perplexity grew the most, the most first.
        changes: one for each matrix that the edit changes, at most a few.
    """

    case_id: str
    sentences: tuple[SentenceChange, ...] = ()
    changes: tuple[HeatMap, ...] = ()
    schema: int = DETAIL_SCHEMA_VERSION

    def to_dict(self) -> dict[str, Any]:
        """This detail as JSON-ready data; inf and NaN become strings."""
        plain: dict[str, Any] = encode(self)
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            UsageError: the data was written by another version.
        """
        check_schema(data, DETAIL_SCHEMA_VERSION)
        return cls(
            case_id=data["case_id"],
            sentences=tuple(
                SentenceChange(one["text"], number(one["before"]), number(one["after"])) for one in data["sentences"]
            ),
            changes=tuple(_heat_map(one) for one in data["changes"]),
        )


def _heat_map(data: Mapping[str, Any]) -> HeatMap:
    rows, columns = data["shape"]
    cells = tuple(tuple(number(cell) for cell in row) for row in data["cells"])
    return HeatMap(data["parameter"], (rows, columns), cells, number(data["norm"]))
