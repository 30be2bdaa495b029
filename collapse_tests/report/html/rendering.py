"""View models to one file of HTML that needs nothing besides itself."""

from __future__ import annotations

import base64
import gc
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collapse_tests import __version__
from collapse_tests.cache import atomic_write_text
from collapse_tests.errors import InfrastructureError
from collapse_tests.report.html.bundle import javascript_bundle
from collapse_tests.report.html.charts.palette import VERDICT_COLOURS, config
from collapse_tests.report.html.page import PageView, page_view
from collapse_tests.report.html.run_data import Changes, RunData

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["REPORT_FILE", "embedded_json", "render_page", "write_page"]

REPORT_FILE = "report.html"

_TEMPLATES = Path(__file__).parent / "templates"


def write_page(run: RunData, file: Path, changes: Changes | None = None) -> None:
    """Write the page of a run to `file`, in place of what is there.

    Raises:
        InfrastructureError: it cannot be made or written.
    """
    with _without_collections():
        text = render_page(page_view(run, changes))
    try:
        atomic_write_text(file, text)
    except OSError as error:
        raise InfrastructureError(
            f"cannot write the page {file}: {error.strerror or error}; free some space or choose another place"
        ) from error


def render_page(view: PageView) -> str:
    """The page as text that UTF-8 can hold.

    Scripts are allowed by their digests alone, so that nothing else on the page would run even if it were taken for
    a script; nothing may be loaded from anywhere.

    Raises:
        InfrastructureError: the JavaScript of charts cannot be made.
    """
    charts = view.charts.charts
    bundle = javascript_bundle() if charts else ""
    script = (_TEMPLATES / "page.js").read_text("utf-8")
    sources = " ".join(f"'sha256-{_digest(text)}'" for text in (bundle, script) if text)
    policy = f"default-src 'none'; script-src {sources}; style-src 'unsafe-inline'; img-src data: blob:"
    data = {
        "charts": {chart.id: chart.spec for chart in charts},
        "config": {"light": config() | {"background": None}, "dark": config(dark=True)},
    }
    from markupsafe import Markup

    return _template().render(
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


@lru_cache(maxsize=1)
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")
