"""Everything a CI system is given at the end of a run, where it asks for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from collapse_tests.ci.github import append_summary, step_summary, workflow_commands
from collapse_tests.ci.gitlab import write_code_quality
from collapse_tests.ci.run_outcome import RunOutcome
from collapse_tests.errors import InfrastructureError

__all__ = ["publish"]


def publish(outcome: RunOutcome, write_line: Callable[[str], None]) -> list[str]:
    """Give the CI system that the environment shows, and the user who asks for a file, what they read.

    Args:
        outcome: of the run.
        write_line: writes a line to the real standard output, where GitHub looks for commands.

    Returns:
        What could not be written and why, a line each.
    """
    problems = []
    for write in (_write_code_quality, _write_summary):
        try:
            write(outcome)
        except InfrastructureError as error:
            problems.append(str(error))
    if outcome.environment.get("GITHUB_ACTIONS") == "true" and (outcome.records or outcome.sequences):
        for line in workflow_commands(outcome):
            write_line(line)
    return problems


def _write_code_quality(outcome: RunOutcome) -> None:
    if outcome.settings.gitlab_code_quality is not None:
        write_code_quality(outcome.settings.gitlab_code_quality, outcome)


def _write_summary(outcome: RunOutcome) -> None:
    file = outcome.environment.get("GITHUB_STEP_SUMMARY")
    if file and (outcome.records or outcome.sequences):
        append_summary(Path(file), step_summary(outcome))
