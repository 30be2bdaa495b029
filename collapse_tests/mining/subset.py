"""What a sweep found hard, as a request file that says how hard."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from collapse_tests.cases import label
from collapse_tests.plain_data import encode
from collapse_tests.records import Record, Verdict

__all__ = ["HardRequest", "hard_requests"]


@dataclass(frozen=True, slots=True)
class HardRequest:
    """A request that collapsed a model, with every record of it.

    Attributes:
        edit_id: where it stands in the set it was mined from.
        records: of each model and editor it was tried on, in the order they were.
    """

    edit_id: str
    records: tuple[Record, ...]

    def to_dict(self) -> dict[str, Any]:
        """The request's fields without what it lacks, then what is known of it.

        `<editor>_<model>_ppl` is the ME-PPL after the edit, as in the study's own files; inf and NaN are strings.
        `diagnostics` are the editor's numbers under `<editor>_<model>`.
        """
        fields = {name: value for name, value in self.records[0].request.items() if value is not None}
        known: dict[str, Any] = {"source": self.edit_id}
        for record in self.records:
            if record.edited is not None:
                known[f"{_place(record)}_ppl"] = record.edited.me_ppl
        known["diagnostics"] = {_place(record): dict(record.diagnostics) for record in self.records}
        plain: dict[str, Any] = encode({**fields, **known})
        return plain


def hard_requests(records: Iterable[Record]) -> list[HardRequest]:
    """The requests that collapsed at least one of the models they were tried on, in the order of the records."""
    by_request: dict[str, list[Record]] = {}
    for record in records:
        by_request.setdefault(record.edit_id, []).append(record)
    return [
        HardRequest(edit_id, tuple(found))
        for edit_id, found in by_request.items()
        if any(record.verdict is Verdict.COLLAPSED for record in found)
    ]


def _place(record: Record) -> str:
    return f"{label(record.editor)}_{label(record.model)}"
