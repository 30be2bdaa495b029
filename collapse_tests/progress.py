"""What a user sees while nothing has been decided yet: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    import pytest
    from rich.console import Console
    from rich.progress import Progress, TaskID

__all__ = ["ProgressDisplay", "terminal_console", "uncaptured"]


class TerminalStream(io.TextIOBase):
    """Pytest's terminal writer as a text stream; it reaches the terminal past the capturing of output."""

    def __init__(self, writer: Any) -> None:
        super().__init__()
        self._writer = writer

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the real standard output."""
        return getattr(sys.__stdout__, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write text as it is."""
        self._writer.write(text)
        return len(text)

    def flush(self) -> None:
        """Push everything out."""
        self._writer.flush()


def terminal_console(config: pytest.Config) -> Console:
    """A console on pytest's terminal, as wide and as colourful as pytest takes it to be."""
    from collapse_tests.report.terminal import make_console

    writer = config.get_terminal_writer()
    stream = cast(TextIO, TerminalStream(writer))
    return make_console(stream, width=writer.fullwidth, colour=bool(writer.hasmarkup))


@contextmanager
def uncaptured(config: pytest.Config) -> Iterator[None]:
    """Let lines reach the terminal while pytest collects, when it would keep them to itself."""
    capture: Any = config.pluginmanager.get_plugin("capturemanager")
    with nullcontext() if capture is None else capture.global_and_fixture_disabled():
        yield


class ProgressDisplay:
    """Shows how far a batch is.

    A live line needs a terminal and nobody's log: not under CI, `-q`, `-s` (where the tests' own output would run
    into it) or xdist, whose workers have no terminal.

    Args:
        config: of the run.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
        quiet = config.get_verbosity() < 0 or self._reporter is None or hasattr(config, "workerinput")
        self._lines = not quiet
        self._live = (
            not quiet
            and config.get_terminal_writer().hasmarkup
            and config.option.color != "yes"
            and config.option.capture != "no"
            and "CI" not in os.environ
        )
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def say(self, line: str) -> None:
        """Show one line for good."""
        if not self._lines:
            return
        self.stop()
        self._reporter.ensure_newline()
        self._reporter.write_line(f"collapse: {line}")

    def update(self, stage: str, done: int, total: int) -> None:
        """Show how far a stage of a batch is; a `Progress` for editors."""
        if not self._live:
            return
        if self._progress is None:
            self._start()
        assert self._progress is not None
        assert self._task is not None
        self._progress.update(self._task, description=f"collapse: {stage}", completed=done, total=total)

    def stop(self) -> None:
        """Take the live line away, so that pytest can go on where it was."""
        if self._progress is not None:
            with suppress(OSError):
                self._progress.stop()
            self._progress = None

    def _start(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._reporter.ensure_newline()
        console = terminal_console(self._config)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            refresh_per_second=4,
        )
        self._task = self._progress.add_task("collapse", total=None)
        self._progress.start()
