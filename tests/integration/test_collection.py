"""Collecting is cheap: no frameworks, and no more work per case for more cases."""

from __future__ import annotations

import cProfile
import pstats

import pytest

from fixtures.pytester_cases import FACTS, GateProject


@pytest.mark.parametrize("words", [["--help"], ["--collect-only", "-q"]], ids=["help", "collect"])
def test_no_framework_is_imported(gate_project: GateProject, words: list[str]) -> None:
    process = gate_project.start(*words, python=["-X", "importtime"])
    output, errors = process.communicate(timeout=60)

    assert process.returncode == 0
    assert "collapse" in output or "test_single_edit" in output
    imported = {line.rpartition("|")[2].strip() for line in errors.splitlines() if line.startswith("import time:")}
    assert "collapse_tests.options" in imported
    roots = {name.partition(".")[0] for name in imported}
    assert not roots & {
        "torch",
        "transformers",
        "tokenizers",
        "safetensors",
        "numpy",
        "scipy",
        "gguf",
        "datasets",
        "lm_eval",
    }


def test_two_thousand_cases(gate_project: GateProject) -> None:
    calls = {count: calls_to_collect(gate_project, count) for count in (500, 2000)}

    # Fixed costs make it less than 4; per-case work that grows with the number of cases would make it up to 16.
    assert calls[2000] / calls[500] < 4.4


def calls_to_collect(project: GateProject, count: int) -> int:
    project.write_facts([FACTS[index % len(FACTS)] for index in range(count)], "many.jsonl")
    profile = cProfile.Profile()

    result = profile.runcall(project.run, "--collect-only", "-q", edits="many.jsonl")

    names = [line for line in result.outlines if "test_single_edit[" in line]
    assert len(names) == len(set(names)) == count
    assert names[-1].endswith(f"test_single_edit.py::test_single_edit[tiny-gpt2-rome-many:{count - 1:04d}]")
    rows = getattr(pstats.Stats(profile), "stats").items()  # noqa: B009 - unknown to its type stubs
    return sum(row[1] for (file, _, _), row in rows if "collapse_tests" in file)
