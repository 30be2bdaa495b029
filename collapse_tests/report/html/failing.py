"""Sections about single cases that failed: what was edited, what broke, how it stands among the others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from collapse_tests.case_detail import CaseDetail, SentenceChange
from collapse_tests.records import Record, Verdict, badness
from collapse_tests.report.formatting import perplexity
from collapse_tests.report.groups import by_group
from collapse_tests.report.html.distribution import Distribution, Standing, Strip, distributions, numbers_of
from collapse_tests.report.html.nearest import NearestStable
from collapse_tests.report.html.reruns import Reruns
from collapse_tests.report.html.run_data import RunData
from collapse_tests.report.html.texts import NOTATION, cut, distinct, edit, shown, visible
from collapse_tests.report.message import task_row
from collapse_tests.report.rows import error_cases, growth, worst_cases

__all__ = ["MOST_SECTIONS", "CaseView", "FailingView", "SentenceView", "failing_view"]

MOST_SECTIONS = 200
_MOST_ERRORS = 40
_OPEN = 3
_MOST_TASKS = 12
_TEXT = 4_000
_FIELDS = {
    "prompt": "prompt",
    "subject": "subject",
    "target_new": "new answer",
    "ground_truth": "old answer",
    "rephrase_prompt": "rephrased prompt",
    "locality_prompt": "locality prompt",
    "locality_ground_truth": "its answer",
}


@dataclass(frozen=True, slots=True)
class SentenceView:
    """One sentence, its perplexity before and after, and how long a bar for its growth is, 0 to 1."""

    text: str
    before: str
    after: str
    growth: str
    bar: float


@dataclass(frozen=True, slots=True)
class CaseView:
    """One case.

    Attributes:
        anchor: of its section.
        case_id, verdict, headline: its name, its verdict, and the edit on one line.
        reasons: why, a sentence each; the message of an error in lines.
        request: label and text of each field that the request has.
        measured: label and text of each measurement.
        before, after: continuations of the prompt, or None.
        standings: its numbers among those of its group.
        sentences: those of ME-PPL that suffered the most.
        nearest: label and text of what is known of the nearest stable edit; empty without one.
        rerun: a command, or None.
        is_open: whether the section is unfolded at first.
    """

    anchor: str
    case_id: str
    verdict: str
    headline: str
    reasons: Sequence[str]
    request: Sequence[tuple[str, str]]
    measured: Sequence[tuple[str, str]]
    before: str | None
    after: str | None
    standings: Sequence[Standing]
    sentences: Sequence[SentenceView]
    nearest: Sequence[tuple[str, str]]
    rerun: str | None
    is_open: bool


@dataclass(frozen=True, slots=True)
class FailingView:
    """All sections.

    Attributes:
        cases: in order.
        strips: drawings that the sections share.
        note: what is left out; empty for nothing.
        anchors: by case id.
    """

    cases: Sequence[CaseView]
    strips: Sequence[Strip]
    note: str
    anchors: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Group:
    """What all cases of one model and editor are compared with."""

    numbers: Mapping[str, Distribution]
    stable: NearestStable


def failing_view(run: RunData) -> FailingView:
    """The worst failing cases: collapsed ones, errors, and ineffective ones if the run failed those."""
    failed = _failed(run)
    taken = _taken(failed)
    groups = _groups(run.records, {(record.model, record.editor) for record in taken})
    reruns = Reruns(run.environment)
    names = distinct(shown(record.case_id, 120) for record in taken)  # long ones may differ in their middle alone
    cases = [
        _case(index, name, record, groups[record.model, record.editor], run.details.get(record.case_id), reruns)
        for index, (name, record) in enumerate(zip(names, taken, strict=True), start=1)
    ]
    # By its drawing's id, as every case of a group has the same.
    strips = {standing.strip.id: standing.strip for case in cases for standing in case.standings}
    note = (
        f"The worst {len(taken):,} of {len(failed):,} failing cases; the others are in records.jsonl."
        if len(taken) < len(failed)
        else ""
    )
    anchors = {record.case_id: case.anchor for record, case in zip(taken, cases, strict=True)}
    return FailingView(cases, tuple(strips.values()), note, anchors)


def _failed(run: RunData) -> list[Record]:
    settings = run.environment.get("settings")
    strict = isinstance(settings, Mapping) and settings.get("fail_ineffective") is True
    verdicts = {Verdict.COLLAPSED, Verdict.INEFFECTIVE} if strict else {Verdict.COLLAPSED}
    worst = [record for record in worst_cases(run.records, None) if record.verdict in verdicts]
    return [*worst, *error_cases(run.records, None)]


def _taken(failed: Sequence[Record]) -> list[Record]:
    """As many as there are sections for; errors get some of them in any case."""
    errors = [record for record in failed if record.verdict is Verdict.ERROR]
    others = [record for record in failed if record.verdict is not Verdict.ERROR]
    kept = others[: MOST_SECTIONS - min(len(errors), _MOST_ERRORS)]
    return [*kept, *errors[: MOST_SECTIONS - len(kept)]]


def _groups(records: Sequence[Record], wanted: set[tuple[str, str]]) -> dict[tuple[str, str], _Group]:
    members = by_group(record for record in records if (record.model, record.editor) in wanted)
    return {
        key: _Group(distributions(own, f"strip-{index}"), NearestStable(own))
        for index, (key, own) in enumerate(members.items())
    }


def _case(index: int, name: str, record: Record, group: _Group, detail: CaseDetail | None, reruns: Reruns) -> CaseView:
    is_error = record.verdict is Verdict.ERROR
    numbers = numbers_of(record)
    rerun = reruns.of(record)
    return CaseView(
        anchor=f"case-{index}",
        case_id=name,
        verdict=record.verdict.value,
        headline=edit(record.request, 120),
        reasons=_why(record),
        request=[(label, cut(text, _TEXT)) for name, label in _FIELDS.items() if (text := record.request.get(name))],
        measured=[] if is_error else _measured(record),
        before=None if record.continuation_before is None else cut(record.continuation_before),
        after=None if record.continuation_after is None else cut(record.continuation_after),
        standings=[one.standing(numbers[name]) for name, one in group.numbers.items() if name in numbers],
        sentences=_sentences(detail.sentences if detail else ()),
        nearest=[] if is_error else _nearest(record, group.stable.to(record)),
        rerun=None if rerun is None else visible(rerun),
        is_open=index <= _OPEN,
    )


def _why(record: Record) -> list[str]:
    """Reasons and notes; an error's message line by line, as its layout may mean something."""
    if record.error is None:
        return [cut(reason) for reason in (*record.reasons, *record.notes)]
    lines = _lines(record.error)
    return [*lines, *(cut(note) for note in record.notes)]


def _lines(text: str, lines: int = 40) -> list[str]:
    """The first lines of a longer text, each of bounded length."""
    split = text[: 2 * _TEXT].strip().split("\n")
    return [cut(line, 400) for line in split[:lines]] + ([NOTATION.ellipsis] if len(split) > lines else [])


def _measured(record: Record) -> list[tuple[str, str]]:
    before, after = record.unedited, record.edited
    rows = [
        (
            "ME-PPL",
            f"{NOTATION.perplexity(before.me_ppl if before else None)} {NOTATION.arrow} "
            f"{NOTATION.perplexity(after.me_ppl if after else None)} ({NOTATION.growth(growth(record))}), "
            f"limit {perplexity(record.ppl_limit)}",
        ),
        (
            "corpus perplexity",
            f"{NOTATION.perplexity(before.corpus_ppl if before else None)} {NOTATION.arrow} "
            f"{NOTATION.perplexity(after.corpus_ppl if after else None)}",
        ),
    ]
    if (quality := record.quality) is not None:
        words = {True: "yes", False: "no", None: "not measured"}
        probabilities = f"{quality.target_probability_before:.3g} {NOTATION.arrow} {quality.target_probability:.3g}"
        rows += [
            ("success", f"{words[quality.success]}; probability of the new answer {probabilities}"),
            ("generalisation", words[quality.generalisation]),
            ("locality", words[quality.locality]),
        ]
    return [*rows, *((shown(label), shown(text, 300)) for label, text in map(task_row, record.tasks[:_MOST_TASKS]))]


def _sentences(changes: Sequence[SentenceChange]) -> list[SentenceView]:
    ranked = sorted(((_grown(change), change) for change in changes), key=lambda one: badness(one[0]), reverse=True)[
        :10
    ]
    most = max((grown for grown, _ in ranked if grown < math.inf), default=1.0)
    return [
        SentenceView(
            shown(change.text, 200),
            perplexity(change.before),
            perplexity(change.after),
            NOTATION.growth(grown),
            grown / most if grown < math.inf and most > 0 else 1.0,
        )
        for grown, change in ranked
    ]


def _grown(change: SentenceChange) -> float:
    return change.after / change.before if change.before else math.inf


def _nearest(record: Record, other: Record | None) -> list[tuple[str, str]]:
    """The nearest stable edit, its number beside the failed one's."""
    if other is None:
        return []
    rows = [("case", shown(other.case_id, 120)), ("edit", edit(other.request, 200))]
    if record.edited and other.edited:
        rows.append(("ME-PPL", f"{perplexity(other.edited.me_ppl)}, here {perplexity(record.edited.me_ppl)}"))
    for name in ("denominator", "update_norm_ratio"):
        if name in record.diagnostics and name in other.diagnostics:
            here, there = record.diagnostics[name], other.diagnostics[name]
            rows.append((name, f"{NOTATION.significant(there)}, here {NOTATION.significant(here)}"))
    return rows
