"""Numbers that a peer computed, kept in a file for the unit tests to compare with."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

__all__ = ["Recorded", "RecordedFile", "commit_of", "short"]


class Recorded(BaseModel):
    """Immutable data; a misspelt field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RecordedFile(Recorded):
    """What a file holds.

    Attributes:
        recorded_with: versions of what computed the numbers.
    """

    recorded_with: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> Self:
        """The data in `path`."""
        return cls.model_validate_json(path.read_bytes())

    def write(self, path: Path) -> None:
        """Write it as JSON with one line per list of plain values."""
        text = json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False)
        flat = re.sub(r"\[[^][{}]*\]", lambda found: re.sub(r"\s*\n\s*", " ", found[0]), text)
        path.write_text(flat + "\n", encoding="utf-8")


def short(number: float) -> float:
    """A number with more digits than a comparison asks for, and no more."""
    return float(f"{number:.9g}")


def commit_of(checkout: Path) -> str:
    """Commit of a peer's checkout, for the record."""
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"
