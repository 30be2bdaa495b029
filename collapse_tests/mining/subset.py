"""What a sweep found hard, as a request file that says how hard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
        places: (editor, model) → what stands for them in names of fields.
    """

    edit_id: str
    records: tuple[Record, ...]
    places: Mapping[tuple[str, str], str]

    def to_dict(self) -> dict[str, Any]:
        """The request's fields without what it lacks, then what is known of it.

        `<editor>_<model>_ppl` is the ME-PPL after the edit, as in the study's own files; inf and NaN are strings.
        `diagnostics` are the editor's numbers under `<editor>_<model>`. Numbers have six digits.
        """
        fields = {name: value for name, value in self.records[0].request.items() if value is not None}
        known: dict[str, Any] = {"source": self.edit_id}
        by_place = {self.places[record.editor, record.model]: record for record in self.records}
        for place, record in by_place.items():
            if record.edited is not None:
                known[f"{place}_ppl"] = _rounded(record.edited.me_ppl)
        known["diagnostics"] = {
            place: {name: _rounded(value) for name, value in record.diagnostics.items()}
            for place, record in by_place.items()
        }
        plain: dict[str, Any] = encode({**fields, **known})
        return plain


def hard_requests(records: Iterable[Record]) -> list[HardRequest]:
    """The requests that collapsed at least one of the models they were tried on, in the order of the records."""
    by_request: dict[str, list[Record]] = {}
    places: dict[tuple[str, str], str] = {}
    for record in records:
        _add_place(places, record)
        by_request.setdefault(record.edit_id, []).append(record)
    return [
        HardRequest(edit_id, tuple(found), places)
        for edit_id, found in by_request.items()
        if any(record.verdict is Verdict.COLLAPSED for record in found)
    ]


def _add_place(places: dict[tuple[str, str], str], record: Record) -> None:
    """`<editor>_<model>` in short; of those that read alike, such as models of one name, the second gets `~2`."""
    name = f"{label(record.editor)}_{label(record.model)}"
    alike = sum(place.partition("~")[0] == name for place in places.values())
    places.setdefault((record.editor, record.model), f"{name}~{alike + 1}" if alike else name)


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
