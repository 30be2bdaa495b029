from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from collapse_tests.ci.gitlab import code_quality, write_code_quality
from collapse_tests.errors import InfrastructureError
from collapse_tests.records import Verdict
from collapse_tests.sequence_record import SequenceKind
from collapse_tests.settings import Settings
from tests.unit.ci.outcomes import outcome, record, sequence


def test_an_entry() -> None:
    (entry,) = code_quality(outcome(record("hard:0000"), record("hard:0001", Verdict.STABLE)))

    fingerprint = entry.pop("fingerprint")
    assert len(fingerprint) == 64
    assert entry == {
        "description": "hard:0000 collapsed: ME-PPL 200.00 → 9,000 (×45.0); Slate hard:0000 is → soup",
        "check_name": "pytest-collapse/collapsed",
        "severity": "critical",
        "location": {"path": "collapse_tests/suite/test_single_edit.py", "lines": {"begin": 1}},
    }


def test_severities_and_files() -> None:
    entries = code_quality(
        outcome(
            record("hard:0000", Verdict.ERROR),
            record("hard:0001", Verdict.INEFFECTIVE),
            sequence(),
            sequence(kind=SequenceKind.MACHINE, verdict=Verdict.ERROR, error="no"),
        )
    )

    assert [entry["severity"] for entry in entries] == ["major", "minor", "critical", "major"]
    assert [Path(entry["location"]["path"]).name for entry in entries[1:]] == [
        "test_single_edit.py",
        "test_scenario.py",
        "test_machine.py",
    ]
    assert entries[2]["description"] == "scenario:hard collapsed: it is so"
    assert entries[3]["description"] == "machine:hard error: no"


def of_files(tmp_path: Path, *names: str) -> Settings:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('\n{"a": 1}\n{"a": 2}\n' if name.endswith("l") else '[{"a": 1}, {"a": 2}]')
    files = tuple(str(tmp_path / name) for name in names)
    return Settings(("rome",), ("m",), files, scenarios=files)


@pytest.mark.parametrize(
    ("edit_id", "path", "line"),
    [
        ("facts:0001", "facts.jsonl", 3),
        ("facts~2:0000", "more/facts.jsonl", 2),
        ("whole:0001", "whole.json", 1),
        ("facts:0099", "facts.jsonl", 1),
        ("other:0000", "collapse_tests/suite/test_single_edit.py", 1),
    ],
)
def test_places(tmp_path: Path, edit_id: str, path: str, line: int) -> None:
    settings = of_files(tmp_path, "facts.jsonl", "more/facts.jsonl", "whole.json")
    run = outcome(record(edit_id), settings=settings, environment={"CI_PROJECT_DIR": str(tmp_path)})

    (entry,) = code_quality(run)

    assert entry["location"] == {"path": path, "lines": {"begin": line}}


def test_places_of_sequences_and_of_files_elsewhere(tmp_path: Path) -> None:
    settings = of_files(tmp_path, "facts.jsonl")
    inside, elsewhere = {"CI_PROJECT_DIR": str(tmp_path)}, {"CI_PROJECT_DIR": str(tmp_path / "other")}

    def path_of(found: Any, environment: dict[str, str]) -> str:
        (entry,) = code_quality(outcome(found, settings=settings, environment=environment))
        path: str = entry["location"]["path"]
        return path

    assert path_of(sequence("facts"), inside) == "facts.jsonl"
    assert path_of(sequence("facts"), elsewhere) == "collapse_tests/suite/test_scenario.py"
    assert path_of(record("facts:0000"), elsewhere) == "collapse_tests/suite/test_single_edit.py"
    Path(settings.edits[0]).unlink()
    assert path_of(record("facts:0000"), inside) == "collapse_tests/suite/test_single_edit.py"


def fingerprints(*found: Any) -> list[str]:
    return [entry["fingerprint"] for entry in code_quality(outcome(*found))]


def test_fingerprints_are_of_the_request_and_not_of_its_place() -> None:
    first = record("hard:0000")
    moved = record("hard:0007", me_ppl=4000.0, request=dict(first.request))

    assert fingerprints(first) == fingerprints(moved)
    others = [record("hard:0001"), record("hard:0000", editor="ft"), record("hard:0000", Verdict.ERROR), sequence()]
    assert len({*fingerprints(first, *others), *fingerprints(sequence("normal"))}) == 6
    assert len(set(fingerprints(first, moved))) == 2
    assert fingerprints(first, moved)[0] == fingerprints(first)[0]


def test_a_file_is_written_where_nothing_failed_too(tmp_path: Path) -> None:
    file = tmp_path / "new" / "quality.json"
    write_code_quality(file, outcome(record("hard:0000", Verdict.STABLE)))
    assert json.loads(file.read_text()) == []

    write_code_quality(file, outcome(record("hard:0000", request={"target_new": "\ud800é"})))
    assert len(json.loads(file.read_text(encoding="ascii"))) == 1

    with pytest.raises(InfrastructureError, match="--gitlab-code-quality"):
        write_code_quality(tmp_path, outcome())
