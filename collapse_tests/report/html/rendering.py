"""View models to one file of HTML that needs nothing besides itself."""

from __future__ import annotations

import base64
import gc
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collapse_tests import __version__
from collapse_tests.cache import atomic_write_text
from collapse_tests.errors import InfrastructureError
from collapse_tests.report.html.bundle import javascript_bundle
from collapse_tests.report.html.charts.chart import Chart
from collapse_tests.report.html.charts.palette import VERDICT_COLOURS, config
from collapse_tests.report.html.comparison import ComparisonView, comparison_view
from collapse_tests.report.html.page import PageView, page_view
from collapse_tests.report.html.run_data import RunData
from collapse_tests.report.side_by_side import NamedRun

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["REPORT_FILE", "embedded_json", "render_comparison", "render_page", "write_comparison", "write_page"]

REPORT_FILE = "report.html"

_TEMPLATES = Path(__file__).parent / "templates"


def write_page(run: RunData, file: Path) -> None:
    """Write the page of a run to `file`, in place of what is there.

    Raises:
        InfrastructureError: it cannot be made or written.
    """
    with _without_collections():
        text = render_page(page_view(run))
    _write(file, text)


def write_comparison(runs: Sequence[NamedRun], file: Path) -> None:
    """Write the page of runs side by side to `file`, in place of what is there.

    Raises:
        InfrastructureError: it cannot be made or written.
    """
    with _without_collections():
        text = render_comparison(comparison_view(runs))
    _write(file, text)


def _write(file: Path, text: str) -> None:
    try:
        atomic_write_text(file, text)
    except OSError as error:
        raise InfrastructureError(
            f"cannot write the page {file}: {error.strerror or error}; free some space or choose another place"
        ) from error


def render_page(view: PageView) -> str:
    """The page of a run as text that UTF-8 can hold.

    Raises:
        InfrastructureError: the JavaScript of charts cannot be made.
    """
    return _rendered("report.html.j2", view, view.charts.charts)


def render_comparison(view: ComparisonView) -> str:
    """The page of runs side by side, likewise.

    Raises:
        InfrastructureError: likewise.
    """
    return _rendered("comparison.html.j2", view, view.charts)


def _rendered(template: str, view: PageView | ComparisonView, charts: Sequence[Chart]) -> str:
    """A page.

    Scripts are allowed by their digests alone, so that nothing else on the page would run even if it were taken for
    a script; nothing may be loaded from anywhere.
    """
    bundle = javascript_bundle() if charts else ""
    script = (_TEMPLATES / "page.js").read_text("utf-8")
    sources = " ".join(f"'sha256-{_digest(text)}'" for text in (bundle, script) if text)
    policy = f"default-src 'none'; script-src {sources}; style-src 'unsafe-inline'; img-src data: blob:"
    data = {
        "charts": {chart.id: chart.spec for chart in charts},
        "config": {"light": config() | {"background": None}, "dark": config(dark=True)},
    }
    from markupsafe import Markup

    return _template(template).render(
        page=view,
        version=__version__,
        policy=policy,
        colours={verdict.value: colour for verdict, colour in VERDICT_COLOURS.items()},
        style=Markup((_TEMPLATES / "style.css").read_text("utf-8")),
        bundle=Markup(bundle),
        script=Markup(script),
        data=Markup(embedded_json(data)),
    )


@contextmanager
def _without_collections() -> Iterator[None]:
    """Millions of small objects, none in a cycle: going through them again and again is a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def embedded_json(data: Mapping[str, Any]) -> str:
    """JSON that can stand within an element `script`: without any sign that markup could begin or end with."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


@lru_cache
def _template(name: str) -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
