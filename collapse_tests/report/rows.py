"""Records to rows: what a run amounts to, as plain data and without any layout.

How ME-PPL values rank that are no ordinary number: NaN is worse than inf, inf worse than every finite value.
A case whose verdict is `error` taught nothing: it is counted as such and left out of every other statistic.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from collapse_tests.records import EditQuality, Record, Verdict, badness
from collapse_tests.report.formatting import Notation, perplexity
from collapse_tests.report.groups import by_group
from collapse_tests.report.task_rows import caught_by_tasks_alone
from collapse_tests.wording import counted

__all__ = [
    "GroupSummary",
    "Rate",
    "error_cases",
    "error_text",
    "growth",
    "median_perplexity",
    "summarise",
    "verdict_sentence",
    "worst_cases",
    "worst_perplexity",
]


@dataclass(frozen=True, slots=True)
class Rate:
    """`hits` of the `n` cases in which something was measured."""

    hits: int
    n: int


@dataclass(frozen=True, slots=True)
class GroupSummary:
    """All cases of one model under one editor.

    Attributes:
        model, editor: what they share.
        cases: how many.
        verdicts: how many of each verdict; all four are present.
        unedited_me_ppl: ME-PPL of the unedited model.
        median_me_ppl, worst_me_ppl: ME-PPL of the edited model; see `median_perplexity`.
        success, generalisation, locality: among the cases in which each was measured.
        seconds: mean wall time of a case per stage (`edit`, `perplexity`, `quality`, `continuation`); a stage that a
            case did not need took it no time.
        seconds_per_edit: the sum of `seconds`.

    A value is None where no case has it.
    """

    model: str
    editor: str
    cases: int
    verdicts: Mapping[Verdict, int]
    unedited_me_ppl: float | None
    median_me_ppl: float | None
    worst_me_ppl: float | None
    success: Rate
    generalisation: Rate
    locality: Rate
    seconds: Mapping[str, float]
    seconds_per_edit: float | None


def summarise(records: Iterable[Record]) -> list[GroupSummary]:
    """One summary per (model, editor), in the order in which they first occur."""
    return [_summary(model, editor, group) for (model, editor), group in by_group(records).items()]


def worst_cases(records: Iterable[Record], limit: int | None = 10) -> list[Record]:
    """The worst cases first: collapsed before all others, then by ME-PPL after the edit; no error among them.

    Args:
        records: of any models and editors.
        limit: how many at most; None for all.
    """
    return sorted(_learnt(records), key=_goodness)[:limit]


def error_cases(records: Iterable[Record], limit: int | None = 10) -> list[Record]:
    """The cases that ended in an error, in the order in which they came."""
    return [record for record in records if record.verdict is Verdict.ERROR][:limit]


def error_text(record: Record) -> str:
    """What went wrong in an `error` case; never empty."""
    return record.error or " ".join(record.reasons) or "no message"


def growth(record: Record) -> float | None:
    """ME-PPL after the edit over ME-PPL before; None unless both were measured."""
    if record.unedited is None or record.edited is None:
        return None
    before, after = record.unedited.me_ppl, record.edited.me_ppl
    return after / before if before else math.inf


def median_perplexity(values: Iterable[float]) -> float | None:
    """The middle value, inf and NaN ranked as worst; between two middle values their mean, NaN if one is NaN."""
    ranked = sorted(values, key=badness)
    if not ranked:
        return None
    low, high = ranked[(len(ranked) - 1) // 2], ranked[len(ranked) // 2]
    return low if len(ranked) % 2 else low / 2 + high / 2


def worst_perplexity(values: Iterable[float]) -> float | None:
    """The highest value, with inf above every number and NaN above inf."""
    return max(values, key=badness, default=None)


def verdict_sentence(records: Sequence[Record]) -> str:
    """What the run found, in one sentence of plain text."""
    if not records:
        return "No edits were tested."
    learnt = _learnt(records)
    errors = len(records) - len(learnt)
    if not learnt:
        return f"Nothing was learnt of {_whereabouts(records)}: {counted(errors, 'edit')} ended in an error."
    collapsed = _count(learnt, Verdict.COLLAPSED)
    ineffective = _count(learnt, Verdict.INEFFECTIVE)
    clauses = [f"{collapsed or 'None'} of {counted(len(learnt), 'edit')} collapsed {_whereabouts(learnt)}"]
    quiet = len(caught_by_tasks_alone(learnt))
    clauses += [f"{quiet} of them by their tasks alone"] if quiet else []
    clauses += _worst_clause(learnt)
    clauses += [f"{ineffective} ineffective"] if ineffective else []
    clauses += [f"{errors} more ended in an error"] if errors else []
    return "; ".join(clauses) + "."


def _summary(model: str, editor: str, group: list[Record]) -> GroupSummary:
    learnt = _learnt(group)
    edited = [record.edited.me_ppl for record in learnt if record.edited]
    qualities = [record.quality for record in learnt if record.quality]
    seconds = _mean_seconds(learnt)
    return GroupSummary(
        model=model,
        editor=editor,
        cases=len(group),
        verdicts={verdict: _count(group, verdict) for verdict in Verdict},
        unedited_me_ppl=median_perplexity(record.unedited.me_ppl for record in group if record.unedited),
        median_me_ppl=median_perplexity(edited),
        worst_me_ppl=worst_perplexity(edited),
        success=_rate(quality.success for quality in qualities),
        generalisation=_rate(_measured(qualities, "generalisation")),
        locality=_rate(_measured(qualities, "locality")),
        seconds=seconds,
        seconds_per_edit=sum(seconds.values()) if seconds else None,
    )


def _measured(qualities: list[EditQuality], name: str) -> list[bool]:
    return [value for quality in qualities if (value := getattr(quality, name)) is not None]


def _rate(outcomes: Iterable[bool]) -> Rate:
    known = list(outcomes)
    return Rate(hits=sum(known), n=len(known))


def _mean_seconds(records: list[Record]) -> dict[str, float]:
    timed = [record.seconds for record in records if record.seconds]
    stages = dict.fromkeys(stage for seconds in timed for stage in seconds)
    return {stage: fmean(seconds.get(stage, 0.0) for seconds in timed) for stage in stages}


def _learnt(records: Iterable[Record]) -> list[Record]:
    return [record for record in records if record.verdict is not Verdict.ERROR]


def _count(records: Iterable[Record], verdict: Verdict) -> int:
    return sum(record.verdict is verdict for record in records)


def _goodness(record: Record) -> tuple[bool, bool, bool, float, str]:
    """Orders records from worst to best; the case id makes the order independent of which worker was faster."""
    me_ppl = record.edited.me_ppl if record.edited else -math.inf
    is_nan, value = badness(me_ppl)
    return (record.verdict is not Verdict.COLLAPSED, not is_nan, record.edited is None, -value, record.case_id)


def _worst_clause(learnt: list[Record]) -> list[str]:
    measured = [record for record in learnt if record.edited]
    if not measured:
        return []
    worst = min(measured, key=lambda record: _goodness(record)[1:])
    assert worst.edited is not None
    name = worst.edit_id if len(_groups(learnt)) == 1 else worst.case_id
    return [f"worst ME-PPL {perplexity(worst.edited.me_ppl)} at {Notation().show(name)}"]


def _whereabouts(records: Iterable[Record]) -> str:
    groups = _groups(records)
    models = {model: None for model, _ in groups}
    editors = {editor: None for _, editor in groups}
    if len(models) == 1 and len(editors) <= 3:
        return Notation().show(f"{next(iter(models))} under {', '.join(editors)}")
    return f"their model ({_number(models, 'model')}, {_number(editors, 'editor')})"


def _groups(records: Iterable[Record]) -> dict[tuple[str, str], None]:
    return {(record.model, record.editor): None for record in records}


def _number(things: Mapping[str, None], noun: str) -> str:
    return f"{len(things)} {noun}" + ("" if len(things) == 1 else "s")
