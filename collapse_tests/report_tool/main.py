"""`collapse-report`: the entry point; each command is in a module of its own. No command imports a framework."""

from __future__ import annotations

import typer

__all__ = ["app", "main"]

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def report() -> None:
    """What runs of the gate found: pages, figures, comparisons and baselines, from their records alone."""


def main() -> None:
    """Entry point of the command."""
    app()


if __name__ == "__main__":
    main()
