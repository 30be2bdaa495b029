"""`collapse-data`: the entry point; each command is in a module of its own."""

from __future__ import annotations

import typer

from collapse_tests.data_tool.generate import generate
from collapse_tests.data_tool.mine import mine
from collapse_tests.data_tool.published import check, fetch, list_sets, show
from collapse_tests.data_tool.rank import rank
from collapse_tests.data_tool.sentences import sentences

__all__ = ["app", "main"]

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def data() -> None:
    """Requests to edit and sentences to measure on: fetch, check, build, mine, rank."""


app.command("list")(list_sets)
app.command()(fetch)
app.command()(check)
app.command()(show)
app.command()(generate)
app.command()(mine)
app.command()(rank)
app.command()(sentences)


def main() -> None:
    """Entry point of the command."""
    app()


if __name__ == "__main__":
    main()
