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
from collapse_tests.engine.scoring import RowCache, Scorer
from collapse_tests.metrics.perplexity import perplexity, perplexity_rows
from collapse_tests.models.editable import EditableModel
from collapse_tests.weight_update import WeightUpdate

__all__ = ["OurMePpl", "Timing", "measure_speed", "speed_table"]


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds per edit of one side, and the ME-PPL after the round's request, one number per round."""

    edit: list[float] = field(default_factory=list)
    me_ppl: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, edit: float, me_ppl: float, value: float) -> None:
        """Note a round."""
        self.edit.append(edit)
        self.me_ppl.append(me_ppl)
        self.values.append(value)

    def clear(self) -> None:
        """Forget the rounds so far."""
        for column in (self.edit, self.me_ppl, self.values):
            column.clear()

    @property
    def last(self) -> str:
        """The latest round in words: a run that is cut short has said what it found."""
        return f"{self.edit[-1]:.3f} s + {self.me_ppl[-1]:.3f} s for ME-PPL {self.values[-1]:.6g}"

    @property
    def both(self) -> float:
        """Median of edit and ME-PPL together."""
        return median(edit + me_ppl for edit, me_ppl in zip(self.edit, self.me_ppl, strict=True))


class OurMePpl:
    """ME-PPL after each update as the engine measures it; below the edited block the sentences run only once.

    Args:
        model: unedited.
        texts: sentences.
    """

    def __init__(self, model: EditableModel, texts: Sequence[str]) -> None:
        self._scorer = Scorer(model)
        self._texts = RowCache(perplexity_rows(model, texts))

    def values(self, updates: Sequence[WeightUpdate]) -> list[float]:
        """ME-PPL under each update."""
        return [perplexity(scores).me_ppl for scores in self._scorer.shared(self._texts, updates)]


def measure_speed(
    peer: EasyEditRome, subject: Subject, texts: Sequence[str], rounds: int, console: Console
) -> tuple[Timing, Timing]:
    """Time ROME on both sides, theirs first, after one round that does not count.

    In each round EasyEdit makes and measures one edit, and ours all requests of `subject` as a batch. The requests
    that EasyEdit gets are spread evenly.
    """
    theirs, ours = Timing(), Timing()
    me_ppl = OurMePpl(subject.model, texts)
    turns = track(range(-1, rounds), "speed", console=console, transient=True, disable=not console.is_terminal)
    for turn in turns:
        index = max(turn, 0) * len(subject.requests) // rounds
        _their_round(peer, subject, texts, index, theirs)
        _our_round(subject, me_ppl, index, ours)
        console.print(f"{'warm-up' if turn < 0 else f'round {turn + 1}'}: EasyEdit {theirs.last}, ours {ours.last}")
        if turn < 0:
            for warm_up in (theirs, ours):
                warm_up.clear()
    return theirs, ours


def _their_round(peer: EasyEditRome, subject: Subject, texts: Sequence[str], index: int, timing: Timing) -> None:
    start = _now(subject.model)
    update = peer.update(subject, subject.requests[index], "mixed")
    edited = _now(subject.model)
    with subject.model.applied(update):
        value = padded_me_ppl(subject.model, texts)
    timing.add(edited - start, _now(subject.model) - edited, value)


def _our_round(subject: Subject, me_ppl: OurMePpl, index: int, timing: Timing) -> None:
    editor = subject.editor("mixed")
    count = len(subject.requests)
    start = _now(subject.model)
    updates = editor.compute_updates(subject.model, subject.requests)
    edited = _now(subject.model)
    values = me_ppl.values(updates)
    timing.add((edited - start) / count, (_now(subject.model) - edited) / count, values[index])


def speed_table(subject: Subject, theirs: Timing, ours: Timing, n_texts: int) -> Table:
    """Medians per edit and their ratio."""
    model = subject.model
    error = max(abs(a - b) / a for a, b in zip(theirs.values, ours.values, strict=True))
    table = Table(
        title=f"Seconds per edit, ROME on {model.name}",
        caption=(
            f"median of {len(theirs.edit)} rounds on {model.device}, {torch.get_num_threads()} threads; "
            f"ours in batches of {len(subject.requests)}; ME-PPL {min(theirs.values):.4g} to "
            f"{max(theirs.values):.4g}, the same in both to {error:.0e}"
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
