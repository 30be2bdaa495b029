"""The JavaScript that draws charts: Vega, Vega-Lite and vega-embed in one file, from the package that brings them."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from collapse_tests.cache import atomic_write_text, cache_dir
from collapse_tests.errors import CollapseError, InfrastructureError

__all__ = ["javascript_bundle"]


def javascript_bundle() -> str:
    """About 0.9 MB of JavaScript; made in seconds, then kept in the cache, so that only the first page waits for it.

    Raises:
        InfrastructureError: it cannot be made.
    """
    with suppress(CollapseError, OSError, UnicodeDecodeError):
        kept = _file().read_text("utf-8")
        if kept:
            return kept
    import vl_convert

    try:
        made: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub asks for a snippet
    except Exception as error:  # the package's errors have no type of their own
        raise InfrastructureError(f"vl-convert-python cannot make the JavaScript of charts: {error}") from error
    if "</script" in made.lower() or "<!--" in made:
        raise InfrastructureError("the JavaScript of vl-convert-python cannot be put into a page as it is")
    with suppress(CollapseError, OSError):  # without a cache the next page waits again
        atomic_write_text(_file(), made)
    return made


def _file() -> Path:
    return cache_dir() / "report" / f"vega-{version('vl-convert-python')}.js"
