"""Seconds per edit and ME-PPL: EasyEdit one by one against ours in batches, in turns in one process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.easyedit_peer import EasyEditRome, Subject, padded_me_ppl
from collapse_tests.models.editable import EditableModel
from collapse_tests.weight_update import WeightUpdate

__all__ = ["Timing", "measure_speed", "our_me_ppl", "speed_table"]


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds per edit of one side, one value per round, and its ME-PPL after the first request's edit."""

    edit: list[float] = field(default_factory=list)
    me_ppl: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)

    @property
    def both(self) -> float:
        """Median of edit and ME-PPL together."""
        return median(edit + me_ppl for edit, me_ppl in zip(self.edit, self.me_ppl, strict=True))


def our_me_ppl(model: EditableModel, updates: Sequence[WeightUpdate], texts: Sequence[str]) -> list[float]:
    """ME-PPL after each update.

    One plain pass per edit, the same as the peer's, for as long as there is no engine to ask.
    """
    values = []
    for update in updates:
        with model.applied(update):
            values.append(padded_me_ppl(model, texts))
    return values


def measure_speed(
    peer: EasyEditRome, subject: Subject, texts: Sequence[str], rounds: int, console: Console
) -> tuple[Timing, Timing]:
    """Time ROME on both sides, theirs first, after one round that does not count.

    In each round EasyEdit makes and measures one edit, and ours all requests of `subject` as a batch.
    """
    theirs, ours = Timing(), Timing()
    turns = track(range(-1, rounds), "speed", console=console, transient=True, disable=not console.is_terminal)
    for turn in turns:
        warm_up = turn < 0
        _their_round(peer, subject, texts, max(turn, 0), Timing(first=theirs.first) if warm_up else theirs)
        _our_round(subject, texts, Timing(first=ours.first) if warm_up else ours)
    return theirs, ours


def _their_round(peer: EasyEditRome, subject: Subject, texts: Sequence[str], turn: int, timing: Timing) -> None:
    request = subject.requests[turn % len(subject.requests)]
    start = _now(subject.model)
    update = peer.update(subject, request, "mixed")
    edited = _now(subject.model)
    with subject.model.applied(update):
        value = padded_me_ppl(subject.model, texts)
    timing.edit.append(edited - start)
    timing.me_ppl.append(_now(subject.model) - edited)
    timing.first.append(value)


def _our_round(subject: Subject, texts: Sequence[str], timing: Timing) -> None:
    editor = subject.editor("mixed")
    start = _now(subject.model)
    updates = editor.compute_updates(subject.model, subject.requests)
    edited = _now(subject.model)
    values = our_me_ppl(subject.model, updates, texts)
    timing.edit.append((edited - start) / len(subject.requests))
    timing.me_ppl.append((_now(subject.model) - edited) / len(subject.requests))
    timing.first.append(values[0])


def speed_table(subject: Subject, theirs: Timing, ours: Timing, n_texts: int) -> Table:
    """Medians per edit and their ratio."""
    model = subject.model
    table = Table(
        title=f"Seconds per edit, ROME on {model.name}",
        caption=(
            f"median of {len(theirs.edit)} rounds on {model.device}, {torch.get_num_threads()} threads; "
            f"ours in batches of {len(subject.requests)}; "
            f"ME-PPL of the first edit: {theirs.first[0]:.4g} and {ours.first[0]:.4g}"
        ),
    )
    for column in ("", "edit", f"ME-PPL of {n_texts} sentences", "both"):
        table.add_column(column, justify="right" if column else "left")
    lines = {name: (median(t.edit), median(t.me_ppl), t.both) for name, t in (("EasyEdit", theirs), ("ours", ours))}
    for name, line in lines.items():
        table.add_row(name, *(f"{seconds:.3f}" for seconds in line))
    ratios = (slow / fast for slow, fast in zip(*lines.values(), strict=True))
    table.add_row("times faster", *(f"{ratio:.1f}" for ratio in ratios), style="bold")
    return table


def _now(model: EditableModel) -> float:
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return time.perf_counter()
