"""Records and snapshots for the tests of baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from collapse_tests.baseline.scenarios import ScenarioOutcome
from collapse_tests.baseline.snapshot import CaseOutcome, Group, Snapshot
from collapse_tests.records import EditQuality, Perplexity, Record, TaskResult, TaskVerdict, Verdict
from collapse_tests.sequence_record import SequenceKind, SequenceRecord, SequenceStep

STABLE, COLLAPSED, INEFFECTIVE, ERROR = Verdict.STABLE, Verdict.COLLAPSED, Verdict.INEFFECTIVE, Verdict.ERROR

FACTS: dict[str, Any] = {"ppl_limit": 1000.0, "ppl_texts": "default", "dtype": "float32", "seed": 0, "edits": ["hard"]}

ROME = Group("tiny", "rome", "d1g35t", {"steps": 5})


def record(edit_id: str, verdict: Verdict = STABLE, me_ppl: float | None = 200.0, **changes: Any) -> Record:
    """A record of the model `tiny` under `rome`; the request's subject is the edit id."""
    model, editor = changes.pop("model", "tiny"), changes.pop("editor", "rome")
    success = changes.pop("success", verdict is not INEFFECTIVE)
    scores: Mapping[str, float] = changes.pop("scores", {})
    fields: dict[str, Any] = {
        "request": {"prompt": f"{edit_id} is", "subject": edit_id, "target_new": "soup", "ground_truth": None},
        "edited": None if me_ppl is None else Perplexity(me_ppl, me_ppl, sentences=2, tokens=9),
        "quality": None if me_ppl is None else EditQuality(success, success, None, None, 0.5, 0.1, None),
        "tasks": tuple(task_result(task, score) for task, score in scores.items()),
        "model_digest": "d1g35t",
        "ppl_limit": 1000.0,
    }
    case_id = changes.pop("case_id", f"{model}-{editor}-{edit_id}")
    return Record(case_id, model, editor, edit_id, **{"verdict": verdict, **fields, **changes})


def task_result(task: str, score: float) -> TaskResult:
    """A task that was measured."""
    return TaskResult(task, "acc", 40, 0.9, score, 0.25, 0.001, 1, 0, 0.5, TaskVerdict.ABOVE)


def outcome(verdict: Verdict = STABLE, me_ppl: float | None = 200.0, **changes: Any) -> CaseOutcome:
    """An outcome of a request called `r`."""
    fields: dict[str, Any] = {"request": "r", "success": verdict is not INEFFECTIVE, "tasks": {}} | changes
    return CaseOutcome(verdict=verdict, me_ppl=me_ppl, **fields)


def snapshot(
    cases: Mapping[str, CaseOutcome], scenarios: Mapping[str, ScenarioOutcome] | None = None, /, **facts: Any
) -> Snapshot:
    """A run of ROME on the model `tiny`; cases are named by their edit ids, scenarios by their sets."""
    named = {f"tiny-rome-scenario:{name}": one for name, one in (scenarios or {}).items()}
    groups = {"tiny-rome": ROME}
    return Snapshot(FACTS | facts, groups, {f"tiny-rome-{name}": one for name, one in cases.items()}, named)


def scenario_outcome(collapsed_after: int | None = None, planned: int = 9, **changes: Any) -> ScenarioOutcome:
    """Edits in sequence, each of a request with the digest `aaaa`."""
    fields: dict[str, Any] = {
        "requests": "aaaa" * (collapsed_after or planned),
        "verdict": STABLE if collapsed_after is None else COLLAPSED,
    }
    return ScenarioOutcome(**({"planned": planned, "collapsed_after": collapsed_after} | fields | changes))


def scenario_record(me_ppl: Sequence[float], planned: int = 3, **changes: Any) -> SequenceRecord:
    """A scenario of the model `tiny` under `rome`; it ends with the first ME-PPL at or above 1000."""
    found = [Perplexity(value, value, sentences=2, tokens=9) for value in me_ppl]
    steps = [SequenceStep(f"f:{n}", one, True, n, n, 0.1, 1.0) for n, one in enumerate(found)]
    after = next((n for n, value in enumerate(me_ppl, start=1) if not value < 1000), None)
    fields: dict[str, Any] = {
        "case_id": "tiny-rome-scenario:f",
        "kind": SequenceKind.SCENARIO,
        "verdict": STABLE if after is None else COLLAPSED,
        "steps": tuple(steps),
        "collapsed_after": after,
        "planned": planned,
        "requests": tuple({"prompt": f"{n} is", "subject": f"{n}", "target_new": "soup"} for n in range(len(steps))),
        "model_digest": "d1g35t",
        "ppl_limit": 1000.0,
    }
    return SequenceRecord(**({"model": "tiny", "editor": "rome", "name": "f"} | fields | changes))


_perplexities = st.one_of(
    st.floats(min_value=1.0, allow_nan=False, allow_infinity=False), st.sampled_from([math.inf, math.nan])
)

_scores = st.one_of(st.floats(0, 1), st.just(math.nan))


@st.composite
def runs(draw: st.DrawFn, *, errors: bool = True) -> list[Record]:
    """Records of one run, of up to two models and two editors, with hostile texts in the requests."""
    verdicts = [verdict for verdict in Verdict if errors or verdict is not ERROR]
    names = draw(st.lists(st.integers(0, 40), unique=True, max_size=12))
    records = []
    for name in names:
        verdict = draw(st.sampled_from(verdicts))
        records.append(
            record(
                f"{draw(st.sampled_from(['hard', 'my_facts~2']))}:{name:04}",
                verdict,
                None if verdict is ERROR else draw(_perplexities),
                model=draw(st.sampled_from(["tiny", "big-one"])),
                editor=draw(st.sampled_from(["rome", "c-rome"])),
                success=draw(st.booleans()),
                scores=draw(st.dictionaries(st.text(max_size=8), _scores, max_size=2)),
                request={"prompt": draw(st.text(max_size=20)), "ground_truth": draw(st.none() | st.text(max_size=5))},
            )
        )
    return records
