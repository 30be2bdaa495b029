"""The example workflows and the page about CI use what there is."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from collapse_tests.ci.exit_codes import INFRASTRUCTURE_EXIT
from collapse_tests.option_table import FLAGS, OPTIONS

DOCS = Path(__file__).parents[3] / "docs"
WORKFLOWS = sorted((DOCS / "ci").iterdir())
OF_PYTEST = {"--junitxml"}
KNOWN = {option.flag for option in OPTIONS} | {flag for flag, *_ in FLAGS} | OF_PYTEST


def scripts(tree: Any) -> Iterator[str]:
    """What a workflow runs, wherever it stands in it."""
    if isinstance(tree, list):
        for part in tree:
            yield from scripts(part)
    if isinstance(tree, dict):
        for name, part in tree.items():
            if name in ("run", "script"):
                yield from part if isinstance(part, list) else [part]
            else:
                yield from scripts(part)


def commands(workflow: Path, program: str = "pytest ") -> list[list[str]]:
    """The words of each of its calls of a program."""
    text = workflow.read_text(encoding="utf-8")
    if workflow.suffix != ".sh":
        text = "\n".join(scripts(yaml.safe_load(text)))
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.strip().startswith(program)]


def test_there_are_workflows() -> None:
    assert [file.name for file in WORKFLOWS] == [
        "github-cpu.yml",
        "github-gpu.yml",
        "github-shards.yml",
        "gitlab.yml",
        "slurm.sh",
    ]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.stem)
def test_every_option_exists(workflow: Path) -> None:
    found = commands(workflow)

    assert found
    for words in found:
        assert "--editor" in words
        assert {word for word in words if word.startswith("--")} <= KNOWN
        assert any(Path(word).name == "junit.xml" for word in words)
        values = dict(itertools.pairwise(words))
        for option in OPTIONS:
            if option.flag in values and "$" not in values[option.flag]:
                option.parse(values[option.flag])


def test_what_is_written_is_kept() -> None:
    gitlab = yaml.safe_load((DOCS / "ci" / "gitlab.yml").read_text(encoding="utf-8"))["collapse gate"]
    (words,) = commands(DOCS / "ci" / "gitlab.yml")

    kept = gitlab["artifacts"]["reports"]
    assert words[words.index("--junitxml") + 1] == kept["junit"]
    assert words[words.index("--gitlab-code-quality") + 1] == kept["codequality"]
    assert gitlab["retry"]["exit_codes"] == [INFRASTRUCTURE_EXIT]
    for name in ("github-cpu.yml", "github-gpu.yml", "github-shards.yml"):
        job = yaml.safe_load((DOCS / "ci" / name).read_text(encoding="utf-8"))["jobs"]["gate"]
        assert "junit.xml" in job["steps"][-1]["with"]["path"].split()


def test_all_shards_are_run_and_merged() -> None:
    github, slurm = DOCS / "ci" / "github-shards.yml", DOCS / "ci" / "slurm.sh"
    jobs = yaml.safe_load(github.read_text(encoding="utf-8"))["jobs"]
    shards = jobs["gate"]["strategy"]["matrix"]["shard"]
    (words,) = commands(github)
    assert words[words.index("--shard") + 1] == f"$SHARD/{len(shards)}"
    assert shards == list(range(1, len(shards) + 1))
    (merge,) = commands(github, "collapse-report ")
    assert merge == [
        "collapse-report",
        "merge",
        "shards/*/reports",
        "--into",
        jobs["merge"]["steps"][-1]["with"]["path"],
    ]

    script = slurm.read_text(encoding="utf-8")
    (last,) = re.findall(r"^#SBATCH --array=1-(\d+)$", script, re.MULTILINE)
    assert f"\nshards={last}\n" in script
    assert "$shard/$shards" in commands(slurm)[0]
    assert "collapse-report merge reports/$job/* --into reports/$job-merged" in script


def test_the_page_names_options_that_exist() -> None:
    page = (DOCS / "ci.md").read_text(encoding="utf-8")

    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page)) <= KNOWN
    assert {"--resume", "--gitlab-code-quality"} <= set(re.findall(r"--[a-z-]+", page))
    assert f"| {INFRASTRUCTURE_EXIT} |" in page
