"""`collapse-report`: the entry point; each command is in a module of its own. No command imports a framework."""

from __future__ import annotations

import typer

from collapse_tests.report_tool.baseline import baseline
from collapse_tests.report_tool.compare import compare
from collapse_tests.report_tool.figures import figures
from collapse_tests.report_tool.merge import merge
from collapse_tests.report_tool.pages import html, open_page

__all__ = ["app", "main"]

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def report() -> None:
    """What runs of the gate found: pages, figures, comparisons and baselines, from their records alone."""


app.command()(compare)
app.command()(baseline)
app.command()(merge)
app.command()(html)
app.command()(figures)
app.command("open")(open_page)


def main() -> None:
    """Entry point of the command."""
    app()


if __name__ == "__main__":
    main()
