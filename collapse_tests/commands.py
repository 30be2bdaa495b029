"""What the project's own commands share: texts of options to values, and errors to messages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from collapse_tests.errors import CollapseError, UsageError
from collapse_tests.network import go_offline, is_offline

if TYPE_CHECKING:
    from rich.console import Console

    from collapse_tests.editors.protocol import Progress

__all__ = ["live_progress", "parsed", "parsed_if_given", "plain_progress", "reporting", "said_once", "sayer"]

Value = TypeVar("Value")


def parsed(option: str, parse: Callable[[str], Value], text: str) -> Value:
    """The value of an option's text.

    Raises:
        UsageError: what `parse` says is wrong, with the option's name.
    """
    try:
        return parse(text)
    except UsageError as error:
        raise UsageError(f"{option}: {error}") from None


def parsed_if_given(option: str, parse: Callable[[str], Value], text: str | None) -> Value | None:
    """As `parsed`; None where the option was left out."""
    return None if text is None else parsed(option, parse, text)


@contextmanager
def reporting() -> Iterator[Console]:
    """A console on the standard output; an error of the package ends the command with its message.

    The exit status is 2 where the user can mend it, otherwise 1. Import frameworks within the block only: they read
    once whether downloads are forbidden, and here they are told.
    """
    from collapse_tests.report.terminal import make_console

    if is_offline():
        go_offline()
    console = make_console(sys.stdout)
    try:
        yield console
    except CollapseError as error:
        console.print(f"error: {error}", markup=False, highlight=False, style="bold red", soft_wrap=True)
        raise typer.Exit(2 if isinstance(error, UsageError) else 1) from None


@contextmanager
def live_progress(console: Console) -> Iterator[Progress]:
    """A live line on a terminal; elsewhere a plain line for each stage."""
    if not console.is_terminal:
        yield plain_progress(sayer(console))
        return
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as LiveProgress

    columns: list[Any] = [SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=20)]
    with LiveProgress(*columns, MofNCompleteColumn(), TimeElapsedColumn(), console=console, transient=True) as live:
        task = live.add_task("working", total=None)
        yield lambda stage, done, total: live.update(task, description=stage, completed=done, total=total)


def plain_progress(say: Callable[[str], None]) -> Progress:
    """A line for each stage, when it begins."""
    show = said_once(say)
    return lambda stage, done, total: show(stage, f"{stage} ({done} of {total})")


def said_once(say: Callable[[str], None]) -> Callable[[str, str], None]:
    """What takes a key and a line, and says the line if the key is new."""
    known: set[str] = set()

    def show(key: str, line: str) -> None:
        if key not in known:
            known.add(key)
            say(line)

    return show


def sayer(console: Console) -> Callable[[str], None]:
    """What prints one line at a time, as it is."""
    return lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True)
