"""What was made of a subject repository, in a terminal."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from collapse_tests.hard_edits.candidates import Proposals
from collapse_tests.hard_edits.subjects import SubjectRepository
from collapse_tests.hard_edits.writers import ATTEMPTS
from collapse_tests.report.formatting import Notation
from collapse_tests.report.tables import Column, make_table, name_cell, print_table

__all__ = ["print_proposals"]


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    subjects: int
    facts: int
    used: int
    candidates: int


def print_proposals(repository: SubjectRepository, found: Proposals, console: Console) -> None:
    """Print the candidates by category, then what was left out and why."""
    notation = Notation.of(console.encoding)
    rows = _rows(repository, found)
    columns: list[Column[_Row]] = [
        Column("category", lambda row: name_cell(row.name, notation), "left", elastic=True),
        Column("subjects", lambda row: Text(f"{row.subjects:,}")),
        Column("facts", lambda row: Text(f"{row.facts:,}")),
        Column("candidates", lambda row: Text(f"{row.candidates:,}")),
        Column("of subjects", lambda row: Text(f"{row.used:,}")),
    ]
    print_table(make_table(columns, [*rows, _total(rows)], notation), console)
    if found.left_out:
        reasons = sorted(found.left_out.items(), key=lambda item: (-item[1], item[0]))
        left_out: list[Column[tuple[str, int]]] = [
            Column("left out", lambda item: Text(f"{item[1]:,}")),
            Column("because", lambda item: name_cell(item[0], notation), "left", elastic=True),
        ]
        print_table(make_table(left_out, reasons, notation), console)
    if found.given_up:
        names = ", ".join(dict.fromkeys(found.given_up))
        samples = "1 sample" if len(found.given_up) == 1 else f"{len(found.given_up):,} samples"
        line = f"No fitting answer in {ATTEMPTS} attempts for {samples}: {names}"
        console.print(Text(notation.show(line)))
        console.print()


def _rows(repository: SubjectRepository, found: Proposals) -> list[_Row]:
    rows = []
    for category in repository.categories:
        own = [candidate.request.subject for candidate in found.candidates if candidate.category == category.name]
        facts = sum(len(values) for values in category.subjects.values())
        rows.append(_Row(category.name, len(category.subjects), facts, len(set(own)), len(own)))
    return rows


def _total(rows: list[_Row]) -> _Row:
    return _Row(
        f"all {len(rows)}",
        sum(row.subjects for row in rows),
        sum(row.facts for row in rows),
        sum(row.used for row in rows),
        sum(row.candidates for row in rows),
    )
