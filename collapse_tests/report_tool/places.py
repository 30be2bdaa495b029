"""Where the runs are that a command of `collapse-report` is about."""

from __future__ import annotations

from pathlib import Path

from collapse_tests.errors import UsageError
from collapse_tests.report.store import RECORDS_FILE, SEQUENCES_FILE

__all__ = ["newest_run", "run_folder"]

_REPORTS = Path("reports")


def run_folder(path: Path) -> Path:
    """The directory of a run, given that or a file in it.

    Raises:
        UsageError: there is no run.
    """
    folder = path.parent if path.is_file() else path
    if not _is_run(folder):
        raise UsageError(f"no run in {path}: it holds no {RECORDS_FILE}; give a run's directory, as reports/<run>")
    return folder


def newest_run(reports: Path = _REPORTS) -> Path:
    """The run whose records were written last.

    Args:
        reports: directory of runs.

    Raises:
        UsageError: there is none.
    """
    runs = [path for path in reports.iterdir() if _is_run(path)] if reports.is_dir() else []
    if not runs:
        raise UsageError(f"no runs in {reports}; give a run's directory")
    return max(runs, key=lambda path: (_written(path), path.name))


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (RECORDS_FILE, SEQUENCES_FILE))


def _written(folder: Path) -> float:
    files = [folder / name for name in (RECORDS_FILE, SEQUENCES_FILE)]
    return max(file.stat().st_mtime for file in files if file.is_file())
