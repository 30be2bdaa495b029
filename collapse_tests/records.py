"""The serialisable outcome of one case: the only thing reports read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self, TypeVar

from collapse_tests.errors import ErrorKind, UsageError
from collapse_tests.plain_data import encode, number, numbers_into

__all__ = [
    "SCHEMA_VERSION",
    "EditQuality",
    "Perplexity",
    "Record",
    "TaskResult",
    "TaskVerdict",
    "Verdict",
    "badness",
    "check_schema",
    "parse_error_kind",
    "parse_task",
]

SCHEMA_VERSION = 1

_T = TypeVar("_T")


class Verdict(StrEnum):
    """What the gate says of a case; the four never get mixed up.

    `STABLE`: the model survived and the edit took. `COLLAPSED`: ME-PPL at or above the limit or not finite.
    `INEFFECTIVE`: the model survived, the edit did not take. `ERROR`: nothing was learnt, because the editor
    raised, the weights were not restored, or the infrastructure failed.
    """

    STABLE = "stable"
    COLLAPSED = "collapsed"
    INEFFECTIVE = "ineffective"
    ERROR = "error"


class TaskVerdict(StrEnum):
    """What downstream accuracy says of one task after an edit.

    `ABOVE`: significantly above what chance reaches. `RANDOM`: not so, or scores were not finite. `DROPPED`: above
    chance, but significantly below the unedited model, in a run that gates on that. `UNINFORMATIVE`: the unedited
    model itself has no margin over chance, so the task says nothing and gates nothing.
    """

    ABOVE = "above random"
    RANDOM = "not above random"
    DROPPED = "dropped"
    UNINFORMATIVE = "uninformative"


@dataclass(frozen=True, slots=True)
class TaskResult:
    """One downstream task under one edit.

    Attributes:
        task: name.
        metric: what its score is, such as `acc`.
        items: how many.
        unedited, edited: score before and after, 0 to 1; NaN where a model's numbers were not finite.
        chance: score that chance alone reaches.
        p_value: probability of a score as high as `edited` by chance alone.
        lost, gained: items right only before, and only after, the edit.
        drop_p_value: exact McNemar test of `lost` against `gained`, one-sided.
        verdict: see `TaskVerdict`.
    """

    task: str
    metric: str
    items: int
    unedited: float
    edited: float
    chance: float
    p_value: float
    lost: int
    gained: int
    drop_p_value: float
    verdict: TaskVerdict


@dataclass(frozen=True, slots=True)
class Perplexity:
    """Perplexity of one model state on one set of sentences.

    Attributes:
        me_ppl: mean over sentences of exp(mean next-token NLL), the number the limit applies to.
        corpus_ppl: exp(total NLL / total predicted tokens).
        sentences: how many sentences.
        tokens: how many predicted tokens.
    """

    me_ppl: float
    corpus_ppl: float
    sentences: int
    tokens: int


@dataclass(frozen=True, slots=True)
class EditQuality:
    """Whether one edit took, spread and stayed local.

    Probabilities are of whole answers: exp of the summed token log-probabilities, each answer after one space.
    A value is None where the request lacks the text it needs.

    Attributes:
        success: target_new more likely than ground_truth after the edit (without ground_truth: `greedy_match`).
        greedy_match: greedy decoding after the edit produces target_new.
        generalisation: as `success`, on the rephrased prompt.
        locality: the greedy answer to the locality prompt is the unedited model's.
        target_probability: P(target_new | prompt) after the edit.
        target_probability_before: the same before the edit.
        ground_truth_probability: P(ground_truth | prompt) after the edit.
    """

    success: bool
    greedy_match: bool
    generalisation: bool | None
    locality: bool | None
    target_probability: float
    target_probability_before: float
    ground_truth_probability: float | None


@dataclass(frozen=True, slots=True)
class Record:
    """Outcome of one case.

    Attributes:
        case_id: `<model>-<editor>-<edit id>`, the part of the node id in brackets.
        model, editor, edit_id: its three coordinates.
        request: the edit request's fields.
        verdict: see `Verdict`.
        reasons: why, one sentence each; empty for a stable case.
        unedited, edited: perplexity before and after; None where it was not measured.
        quality: None where it was not measured.
        tasks: downstream accuracy; empty where it was not measured.
        diagnostics: the editor's own numbers, such as `denominator` or `update_norm_ratio`.
        continuation_before, continuation_after: greedy continuations of the prompt, for failing cases.
        ppl_limit: the limit the verdict used.
        seconds: wall time per stage (`edit`, `perplexity`, `quality`), a batch's time shared equally.
        model_digest: digest of the unedited weights.
        seed: the run's seed.
        worker: xdist worker, or `main`.
        error: the message of an `ERROR` case.
        error_kind: whose fault that is; None where there is no error, and in records of before it was known.
        notes: what else to know of the edit, such as what its editor left behind and was undone; a sentence each.
        printed: what the editor wrote to the standard output.
    """

    case_id: str
    model: str
    editor: str
    edit_id: str
    request: Mapping[str, str | None]
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    unedited: Perplexity | None = None
    edited: Perplexity | None = None
    quality: EditQuality | None = None
    tasks: tuple[TaskResult, ...] = ()
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    continuation_before: str | None = None
    continuation_after: str | None = None
    ppl_limit: float = math.nan
    seconds: Mapping[str, float] = field(default_factory=dict)
    model_digest: str = ""
    seed: int = 0
    worker: str = "main"
    error: str | None = None
    error_kind: ErrorKind | None = None
    notes: tuple[str, ...] = ()
    printed: str = ""
    schema: int = SCHEMA_VERSION

    def to_dict(self) -> dict[str, Any]:
        """This record as JSON-ready data; inf and NaN become the strings `inf`, `-inf` and `nan`."""
        plain: dict[str, Any] = encode(self)
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            UsageError: the data was written by another version of the record.
        """
        check_schema(data, SCHEMA_VERSION)
        values = dict(data)
        values["verdict"] = Verdict(values["verdict"])
        values["reasons"] = tuple(values["reasons"])
        values["notes"] = tuple(values.get("notes", ()))
        values["error_kind"] = parse_error_kind(values)
        values["ppl_limit"] = number(values["ppl_limit"])
        values["diagnostics"] = {name: number(value) for name, value in values["diagnostics"].items()}
        values["seconds"] = {name: number(value) for name, value in values["seconds"].items()}
        for side in ("unedited", "edited"):
            values[side] = _parse(Perplexity, values[side])
        values["quality"] = _parse(EditQuality, values["quality"])
        values["tasks"] = tuple(map(parse_task, values.get("tasks", ())))
        return cls(**values)


def badness(me_ppl: float) -> tuple[bool, float]:
    """A key that orders ME-PPL from best to worst: inf above every number and NaN above inf.

    The key itself holds no NaN, which would leave any sort in disorder.
    """
    return (True, 0.0) if math.isnan(me_ppl) else (False, me_ppl)


def check_schema(data: Mapping[str, Any], expected: int) -> None:
    """Refuse data that another version wrote.

    Raises:
        UsageError: it is of another schema.
    """
    if data.get("schema") != expected:
        raise UsageError(
            f"record has schema {data.get('schema')!r}, this version reads schema {expected}; "
            "read it with the version of pytest-collapse that wrote it, or run the gate again"
        )


def parse_error_kind(data: Mapping[str, Any]) -> ErrorKind | None:
    """Whose fault an error is, if encoded data says so."""
    kind = data.get("error_kind")
    return None if kind is None else ErrorKind(kind)


def parse_task(data: Mapping[str, Any]) -> TaskResult:
    """A task's result from encoded data."""
    numbers = {name: number(data[name]) for name in ("unedited", "edited", "chance", "p_value", "drop_p_value")}
    return TaskResult(**{**data, **numbers, "verdict": TaskVerdict(data["verdict"])})


def _parse(cls: type[_T], data: Mapping[str, Any] | None) -> _T | None:
    return None if data is None else numbers_into(cls, data)
