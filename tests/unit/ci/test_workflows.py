"""The workflows that users copy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from collapse_tests.option_table import FLAGS, OPTIONS

WORKFLOWS = sorted((Path(__file__).parents[3] / "docs" / "ci").glob("*.yml"))
#: Of pytest itself.
PYTEST_OPTIONS = {"--junitxml"}


def test_there_are_some() -> None:
    assert [path.name for path in WORKFLOWS] == ["github-cpu.yml", "github-gpu.yml", "gitlab.yml"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_options_exist(path: Path) -> None:
    commands = [text for text in texts(yaml.safe_load(path.read_text())) if "pytest --editor" in text]
    assert commands
    known = {option.flag for option in OPTIONS} | {flag[0] for flag in FLAGS} | PYTEST_OPTIONS
    for command in commands:
        assert set(re.findall(r"--[a-z-]+", command)) <= known


def texts(document: object) -> list[str]:
    """Every text in a document."""
    if isinstance(document, dict):
        return [text for value in document.values() for text in texts(value)]
    if isinstance(document, list):
        return [text for value in document for text in texts(value)]
    return [document] if isinstance(document, str) else []
