"""All that a CI system is told of a run, and what to say of a case there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from collapse_tests.cases import Case, stems_of
from collapse_tests.datasets.requests import request_files, stem_of
from collapse_tests.edit_request import EditRequest
from collapse_tests.errors import CollapseError
from collapse_tests.records import Record, Verdict
from collapse_tests.report.formatting import Notation
from collapse_tests.report.message import one_line
from collapse_tests.report.rows import error_text, verdict_sentence
from collapse_tests.report.sequences import sequences_sentence
from collapse_tests.rerun import rerun_command, sequence_rerun_command
from collapse_tests.sequence_record import SequenceKind, SequenceRecord
from collapse_tests.settings import Settings

__all__ = ["Place", "RunOutcome"]

#: Files of the suite's tests, in the package.
_SUITE = {
    SequenceKind.SCENARIO: "collapse_tests/suite/test_scenario.py",
    SequenceKind.MACHINE: "collapse_tests/suite/test_machine.py",
    None: "collapse_tests/suite/test_single_edit.py",
}

#: Where CI systems say that the repository is.
_CHECKOUTS = ("CI_PROJECT_DIR", "GITHUB_WORKSPACE")


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file, relative to the repository and with slashes.

    Attributes:
        path: of the user's request file, or else of the suite's test.
        line: from 1 on.
        of_user: whether it is the user's file.
    """

    path: str
    line: int
    of_user: bool


@dataclass(frozen=True)
class RunOutcome:
    """What came of a run.

    Attributes:
        settings: of the run.
        records, sequences: all of them.
        failed: those of the tests that failed, in the order they did.
        directory: of the run, as the user would write it; None where there is none.
        resumed: cases that earlier records answered for; None in a run that resumes nothing.
        news: what changed against the baseline, a line of plain text each.
        problem: why records are incomplete, or None.
        environment: environment variables.
    """

    settings: Settings
    records: tuple[Record, ...]
    sequences: tuple[SequenceRecord, ...]
    failed: tuple[Record | SequenceRecord, ...]
    directory: str | None = None
    resumed: int | None = None
    news: tuple[str, ...] = ()
    problem: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def sentences(self) -> list[str]:
        """What the run found, in one or two sentences of plain text."""
        found = [verdict_sentence(self.records)] if self.records or not self.sequences else []
        return [*found, sequences_sentence(self.sequences)] if self.sequences else found

    def rerun(self, record: Record | SequenceRecord) -> str:
        """The command that runs a case or a sequence again."""
        if isinstance(record, Record):
            group = record.case_id.removesuffix(f"-{record.edit_id}")
            case = Case(record.model, record.editor, record.edit_id, EditRequest(**record.request), group)  # type: ignore[arg-type]
            return rerun_command(case, self.settings)
        source = self._source(record) or record.name
        return sequence_rerun_command(record.kind, source, self.settings, model=record.model, editor=record.editor)

    def headline(self, record: Record | SequenceRecord) -> str:
        """A case or a sequence and what came of it, in a line of plain text that holds no control characters."""
        if isinstance(record, Record):
            return one_line(record)
        why = (record.error or "no message") if record.verdict is Verdict.ERROR else " ".join(record.reasons[:1])
        return Notation().show(f"{record.kind}:{record.name} {record.verdict}: {why}")

    def details(self, record: Record | SequenceRecord) -> list[str]:
        """The model, the editor and why, a line each, and the command that runs it again."""
        why = [error_text(record)] if isinstance(record, Record) and record.verdict is Verdict.ERROR else record.reasons
        told = [Notation().show(line) for line in (f"{record.editor} on {record.model}", *why[:3])]
        return [*told, f"rerun: {self.rerun(record)}"]

    def place(self, record: Record | SequenceRecord) -> Place:
        """Where the request of a case or the set of a sequence is."""
        source = self._source(record)
        path = None if source is None else self._in_repository(Path(source))
        if source is None or path is None:
            return Place(_SUITE[None if isinstance(record, Record) else record.kind], 1, of_user=False)
        line = self._line(source, record.edit_id) if isinstance(record, Record) else 1
        return Place(path, line, of_user=True)

    def _source(self, record: Record | SequenceRecord) -> str | None:
        """The set or file a record's requests are of; of a case only if it is a file."""
        if isinstance(record, Record):
            return self._case_files.get(record.edit_id.rpartition(":")[0])
        asked = self.settings.scenarios if record.kind is SequenceKind.SCENARIO else self.settings.machines
        stems = stems_of(asked)
        return next((source for source in asked if stems.get(source, stem_of(source)) == record.name), None)

    @cached_property
    def _case_files(self) -> dict[str, str]:
        return {stem: source for source, stem in stems_of(self.settings.edits).items()}

    @cached_property
    def _lines(self) -> dict[str, list[int]]:
        return {}

    def _line(self, source: str, edit_id: str) -> int:
        """The line of a record in a file that has one a line, else 1."""
        if source not in self._lines:
            self._lines[source] = _lines_of(source)
        index = edit_id.rpartition(":")[2]
        lines = self._lines[source]
        return lines[int(index)] if index.isdigit() and int(index) < len(lines) else 1

    def _in_repository(self, path: Path) -> str | None:
        """A file's path from the repository's top, or None for one that is elsewhere or no file."""
        full = path.expanduser().resolve()
        named = next((value for name in _CHECKOUTS if (value := self.environment.get(name))), ".")
        top = Path(named).resolve()
        return full.relative_to(top).as_posix() if full.is_file() and full.is_relative_to(top) else None


def _lines_of(source: str) -> list[int]:
    """The line of each record of a file of JSON lines; none of any other file, and of one that has gone."""
    try:
        (file,) = request_files(source)
        text = file.data.decode("utf-8-sig", errors="replace")
    except (CollapseError, ValueError):
        return []
    return [number for number, line in enumerate(text.split("\n"), start=1) if line.strip()] if file.lines else []
