"""What a run has found to have changed against its baseline: kept beside its records, as the baseline goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collapse_tests.cache import atomic_write_text
from collapse_tests.errors import InfrastructureError, UsageError

__all__ = ["NEWS_FILE", "BaselineNews", "read_news", "write_news"]

NEWS_FILE = "baseline_news.json"


@dataclass(frozen=True, slots=True)
class BaselineNews:
    """What changed against a baseline.

    Attributes:
        headline: in one sentence.
        lines: plain text, a line each; what is about a model and editor is indented below their line.
    """

    headline: str
    lines: tuple[str, ...]


def write_news(folder: Path, news: BaselineNews) -> None:
    """Write what changed into the directory of a run.

    Raises:
        InfrastructureError: it cannot be written.
    """
    try:
        atomic_write_text(folder / NEWS_FILE, json.dumps({"headline": news.headline, "lines": news.lines}, indent=2))
    except OSError as error:
        raise InfrastructureError(
            f"cannot write {folder / NEWS_FILE}: {error.strerror or error}; free some space there or choose another "
            "place with --reports-dir"
        ) from error


def read_news(folder: Path) -> BaselineNews | None:
    """What a run found to have changed; None of a run without a baseline.

    Raises:
        UsageError: the file is damaged.
    """
    file = folder / NEWS_FILE
    try:
        return _news(json.loads(file.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{file} cannot be read ({error}); restore or remove it") from None


def _news(data: Any) -> BaselineNews:
    headline, lines = (data.get("headline"), data.get("lines")) if isinstance(data, dict) else (None, None)
    texts: Sequence[Any] = [headline, *lines] if isinstance(lines, list) else [None]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("no headline and lines of text")
    return BaselineNews(texts[0], tuple(texts[1:]))
