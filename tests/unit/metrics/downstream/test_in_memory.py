"""Data sets in memory do not ask the library to pickle anything."""

from __future__ import annotations

import pytest

from collapse_tests.metrics.downstream.in_memory import dataset_of


def test_rows_come_back_and_name_the_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("pickled")

    monkeypatch.setattr("datasets.fingerprint.Hasher.hash", refuse)
    monkeypatch.setattr("datasets.fingerprint.Hasher.update", refuse)
    rows = [{"query": "A", "choices": ["b", "c"], "gold": 1}, {"query": "D", "choices": ["e"], "gold": 0}]
    made = dataset_of(rows)
    assert list(made) == rows
    assert made._fingerprint == dataset_of(rows)._fingerprint != dataset_of(rows[:1])._fingerprint
