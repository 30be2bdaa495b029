"""Token F1 as the data set's authors define it."""

from __future__ import annotations

import pytest

from collapse_tests.metrics.downstream.squad import token_f1


@pytest.mark.parametrize(
    ("answer", "references", "expected"),
    [
        ("The Eiffel Tower.", ["eiffel tower"], 1.0),
        ("in Paris", ["Paris"], 2 / 3),
        ("Rome", ["Paris"], 0.0),
        ("Rome", ["Paris", "ROME!"], 1.0),
        ("", ["Paris"], 0.0),
        ("the", ["Paris"], 0.0),
        ("Paris Paris", ["Paris"], 2 / 3),
    ],
)
def test_token_f1(answer: str, references: list[str], expected: float) -> None:
    assert token_f1(answer, references) == pytest.approx(expected)
