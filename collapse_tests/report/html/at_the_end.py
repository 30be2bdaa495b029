"""The page of a run, written when the run ends."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from collapse_tests.records import Record
from collapse_tests.report.html.run_data import read_beside
from collapse_tests.report.html.texts import visible
from collapse_tests.sequence_record import SequenceRecord

__all__ = ["write_at_the_end"]


def write_at_the_end(folder: Path, records: Sequence[Record], sequences: Sequence[SequenceRecord]) -> str:
    """Write the page beside the records of a run, and say in one line where it is.

    Whatever goes wrong is in that line and nowhere else: the run has its outcome already.

    Args:
        folder: of the run.
        records: of all its cases.
        sequences: of all its scenarios and searches.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those of the packages that draw say nothing about the user's project
            from collapse_tests.report.html.rendering import REPORT_FILE, write_page

            file = folder / REPORT_FILE
            write_page(read_beside(folder, records, sequences), file)
    except Exception as error:
        why = str(error) or type(error).__name__
        return f"warning: no page was written ({visible(why)}); the records are in {visible(os.path.relpath(folder))}"
    return f"Report: {visible(os.path.relpath(file))}"
