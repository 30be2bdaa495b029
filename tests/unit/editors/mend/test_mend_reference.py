"""MEND equals EasyEdit's: the same hypernetwork, the edits that its code computed on tiny models."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks.mend_reference import Edit, Reference, Setup, change_of

# The two agreed to 4e-7 of ‖ΔW‖ where the numbers were recorded; another processor rounds otherwise.
TOLERANCE = 1e-4

REFERENCE = Reference.read(Path(__file__).with_name("mend_reference.json"))
RECORD = "record anew with `python -m benchmarks.easyedit_mend --easyedit PATH --record FILE`"


@pytest.mark.parametrize("setup", REFERENCE.setups, ids=lambda setup: setup.name)
def test_updates_equal_the_recorded_ones(setup: Setup) -> None:
    model = setup.model()
    assert setup.guard(model) == pytest.approx(setup.logits_norm, rel=TOLERANCE), (
        f"the tiny model {setup.name!r} has changed, so the reference no longer applies: {RECORD}"
    )
    editor = setup.editor(model)
    for request, recorded in zip(REFERENCE.requests, setup.edits, strict=True):
        found = {name: Edit.of(change) for name, change in change_of(model, editor, request).items()}
        assert found.keys() == recorded.keys()
        for name, ours in found.items():
            theirs = recorded[name]
            assert ours.norm == pytest.approx(theirs.norm, rel=TOLERANCE), f"‖ΔW‖ of {name} for {request}"
            error = math.dist(ours.entries, theirs.entries) / math.hypot(*theirs.entries)
            assert error <= TOLERANCE, f"{name} for {request}: entries of ΔW differ by {error:.1e} of their norm"
