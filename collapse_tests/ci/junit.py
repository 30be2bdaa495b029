"""What a run amounts to, as properties of the whole in JUnit's XML."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from collapse_tests.ci.run_outcome import RunOutcome
from collapse_tests.records import Verdict

if TYPE_CHECKING:
    import pytest

__all__ = ["add_totals", "totals"]


def totals(outcome: RunOutcome) -> Iterator[tuple[str, object]]:
    """Name and value of each total."""
    yield "collapse.summary", " ".join(outcome.sentences)
    for name, found in (("cases", outcome.records), ("sequences", outcome.sequences)):
        if found:
            yield f"collapse.{name}", len(found)
            for verdict in Verdict:
                yield f"collapse.{name}.{verdict}", sum(record.verdict is verdict for record in found)
    if outcome.resumed is not None:
        yield "collapse.cases.resumed", outcome.resumed
    if outcome.directory is not None:
        yield "collapse.run", outcome.directory


def add_totals(config: pytest.Config, outcome: RunOutcome) -> None:
    """Add the totals to the XML of `--junitxml`, if it is asked for; before pytest writes it."""
    from _pytest.junitxml import xml_key  # what `record_testsuite_property` uses, which only tests can have

    if (xml := config.stash.get(xml_key, None)) is not None:
        for name, value in totals(outcome):
            xml.add_global_property(name, value)
