"""An engine that has measured every case already: what is left is the cost of pytest, of the plugin and of sending.

As a plugin (`-p benchmarks.instant_gate`) it takes the place of the engine in this process and in xdist's workers.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from collapse_tests.engine.outcome import Outcome
from collapse_tests.records import EditQuality, Perplexity, Record, Verdict

__all__ = ["InstantGate", "pytest_configure", "write_requests"]


class InstantGate:
    """Outcomes of no cost; stands in for `Gate`, whose arguments it takes and forgets."""

    def __init__(self, *arguments: Any, worker: str = "main", **options: Any) -> None:
        self.worker = worker

    def expect(self, cases: Any) -> None:
        """Nothing to plan."""

    def requests_at_once(self, model: str, editor: str) -> int:
        """As many as a GPU edits together."""
        return 64

    def device_facts(self, worker: str) -> dict[str, str] | None:
        """It computes on nothing."""
        return None

    def outcome(self, case: Any) -> Outcome[Record]:
        """A stable record with every field filled."""
        record = Record(
            case_id=case.id,
            model=case.model,
            editor=case.editor,
            edit_id=case.edit_id,
            request={"prompt": case.request.prompt, "subject": case.request.subject},
            verdict=Verdict.STABLE,
            unedited=Perplexity(167.0, 94.0, 50, 1100),
            edited=Perplexity(168.0, 95.0, 50, 1100),
            quality=EditQuality(True, True, True, True, 0.9, 0.01, 0.02),
            diagnostics={"denominator": 4.0, "update_norm_ratio": 0.1, "steps": 20.0},
            ppl_limit=1000.0,
            worker=self.worker,
            seconds={"edit": 0.0, "perplexity": 0.0, "quality": 0.0},
            model_digest="0" * 64,
        )
        return Outcome(record)


def pytest_configure() -> None:
    """Take the engine's place, before it is made and imports what it needs."""
    from collapse_tests.session import GateSession

    gate = InstantGate(worker=os.environ.get("PYTEST_XDIST_WORKER", "main"))
    GateSession.gate = property(lambda self: gate)  # type: ignore[assignment]


def write_requests(path: Path, count: int) -> None:
    """`count` different requests that no model will see."""
    with path.open("w", encoding="utf-8") as file:
        for index in range(count):
            record = {
                "prompt": f"Station {index:05d} of the line is called",
                "subject": f"Station {index:05d}",
                "target_new": "Harbour",
                "ground_truth": "Market",
                "rephrase_prompt": f"The name of station {index:05d} is",
                "locality_prompt": "The colour of the line is",
                "locality_ground_truth": "green",
            }
            print(json.dumps(record), file=file)
