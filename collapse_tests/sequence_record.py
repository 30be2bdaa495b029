"""The serialisable outcome of edits in sequence: one scenario, or one search for a sequence that collapses a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from collapse_tests.errors import ErrorKind
from collapse_tests.plain_data import encode, number, numbers_into
from collapse_tests.records import Perplexity, TaskResult, Verdict, check_schema, parse_error_kind, parse_task

__all__ = ["SEQUENCE_SCHEMA_VERSION", "SearchStatistics", "SequenceKind", "SequenceRecord", "SequenceStep"]

SEQUENCE_SCHEMA_VERSION = 1


class SequenceKind(StrEnum):
    """`SCENARIO`: given edits in a given order. `MACHINE`: a search among the sequences of a pool of edits."""

    SCENARIO = "scenario"
    MACHINE = "machine"


@dataclass(frozen=True, slots=True)
class SequenceStep:
    """What was measured after one edit of a sequence.

    Attributes:
        edit_id: of the edit.
        perplexity: of the model with this edit and all before it.
        success: whether this edit took; see `EditQuality.success`.
        retained: earlier edits that still succeed, each on its own prompt.
        earlier: earlier edits, without those whose prompt a later one of the sequence has written anew.
        drift: ‖W − W0‖ / ‖W0‖ over all tensors changed since the unedited model's W0.
        seconds: wall time of the edit and of these measurements.
    """

    edit_id: str
    perplexity: Perplexity
    success: bool
    retained: int
    earlier: int
    drift: float
    seconds: float


@dataclass(frozen=True, slots=True)
class SearchStatistics:
    """How far a search went.

    Attributes:
        sequences: tried, those while shrinking among them.
        edits: computed and measured.
        remembered: steps that were known already, so that nothing was computed.
        longest: edits in the longest sequence.
        worst_me_ppl: highest ME-PPL of any state, inf above all numbers and NaN above inf; None without any.
        ineffective: edits that did not take when they were made.
        forgetful: states in which an earlier edit that had taken no longer succeeds.
        out_of_time: whether the time budget kept the search from making an edit.
    """

    sequences: int
    edits: int
    remembered: int
    longest: int
    worst_me_ppl: float | None
    ineffective: int
    forgetful: int
    out_of_time: bool


@dataclass(frozen=True, slots=True)
class SequenceRecord:
    """Outcome of one scenario or one search.

    Attributes:
        case_id: `<model>-<editor>-<kind>:<name>`, the part of the node id in brackets.
        model, editor: as in the settings.
        name: of the set of requests, in short.
        kind: see `SequenceKind`.
        verdict: see `Verdict`. `INEFFECTIVE`: the model survived and some edit did not take.
        reasons: why, one sentence each; empty where it is stable.
        unedited: perplexity of the unedited model; None where it was not measured.
        steps: one per edit made; of a search, those of the smallest sequence found.
        collapsed_after: edits after which the model was first found collapsed, or None.
        planned: edits asked for; of a search, the most that one sequence may have.
        tasks: downstream accuracy after the last step; empty where it was not measured.
        requests: fields of the requests of the steps, and of the one at fault in an error.
        search: how far a search went; None for a scenario.
        ppl_limit: the limit the verdict used.
        ppl_texts: name or path of the sentences perplexity was measured on.
        seed: the run's seed.
        worker: xdist worker, or `main`.
        model_digest: digest of the unedited weights.
        seconds: wall time of the whole test.
        error: the message of an `ERROR`.
        error_kind: whose fault that is; None where there is no error, and in records of before it was known.
        notes: what else to know, a sentence each.
    """

    case_id: str
    model: str
    editor: str
    name: str
    kind: SequenceKind
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    unedited: Perplexity | None = None
    steps: tuple[SequenceStep, ...] = ()
    collapsed_after: int | None = None
    planned: int = 0
    tasks: tuple[TaskResult, ...] = ()
    requests: tuple[Mapping[str, str | None], ...] = ()
    search: SearchStatistics | None = None
    ppl_limit: float = math.nan
    ppl_texts: str = ""
    seed: int = 0
    worker: str = "main"
    model_digest: str = ""
    seconds: float = 0.0
    error: str | None = None
    error_kind: ErrorKind | None = None
    notes: tuple[str, ...] = ()
    schema: int = SEQUENCE_SCHEMA_VERSION

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
        check_schema(data, SEQUENCE_SCHEMA_VERSION)
        values = dict(data)
        values["kind"] = SequenceKind(values["kind"])
        values["verdict"] = Verdict(values["verdict"])
        values["error_kind"] = parse_error_kind(values)
        for name in ("reasons", "notes", "requests"):
            values[name] = tuple(values[name])
        for name in ("ppl_limit", "seconds"):
            values[name] = number(values[name])
        for name, kind in (("unedited", Perplexity), ("search", SearchStatistics)):
            values[name] = None if values[name] is None else numbers_into(kind, values[name])
        values["steps"] = tuple(map(_parse_step, values["steps"]))
        values["tasks"] = tuple(map(parse_task, values["tasks"]))
        return cls(**values)


def _parse_step(data: Mapping[str, Any]) -> SequenceStep:
    numbers = {name: number(data[name]) for name in ("drift", "seconds")}
    return SequenceStep(**{**data, **numbers, "perplexity": numbers_into(Perplexity, data["perplexity"])})
