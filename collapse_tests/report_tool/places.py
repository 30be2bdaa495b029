"""Where the runs are that a command of `collapse-report` is about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path

from collapse_tests.errors import InfrastructureError, UsageError
from collapse_tests.report.store import RECORDS_FILE, SEQUENCES_FILE

__all__ = ["new_page", "newest_run", "run_folder"]

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


@contextmanager
def new_page(runs: Iterable[str], now: datetime) -> Iterator[Path]:
    """Yield a file that was not there, for the page of some runs, beside the first of them that has a directory.

    Args:
        runs: as given: runs' directories, files of records, or baselines.
        now: gives the file its name, `comparison-<YYYYMMDD-HHMMSS>.html`.

    Raises:
        InfrastructureError: it cannot be made. Nothing is left of it where the block raises.
    """
    folders = (path if path.is_dir() else path.parent for path in map(Path, runs))
    place = next((folder.absolute().parent for folder in folders if _is_run(folder)), _REPORTS)
    file = _make_new(place, f"comparison-{now:%Y%m%d-%H%M%S}")
    try:
        yield file
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def _make_new(folder: Path, stem: str) -> Path:
    for attempt in count(1):
        file = folder / f"{stem}{'' if attempt == 1 else f'-{attempt}'}.html"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file.touch(exist_ok=False)
        except FileExistsError:
            if file.exists():
                continue
            raise InfrastructureError(f"cannot write {file}: {folder} is no directory") from None
        except OSError as error:
            raise InfrastructureError(f"cannot write {file}: {error.strerror or error}") from error
        return file
    raise AssertionError("unreachable: count() does not end")


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (RECORDS_FILE, SEQUENCES_FILE))


def _written(folder: Path) -> float:
    files = [folder / name for name in (RECORDS_FILE, SEQUENCES_FILE)]
    return max(file.stat().st_mtime for file in files if file.is_file())
