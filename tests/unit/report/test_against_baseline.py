from __future__ import annotations

import io
import math
from dataclasses import replace

import pytest

from collapse_tests.baseline.comparison import compare
from collapse_tests.report.against_baseline import baseline_news, print_baseline_news, ratio_text
from collapse_tests.report.terminal import make_console
from tests.unit.baseline.cases import COLLAPSED, ERROR, INEFFECTIVE, ROME, outcome, snapshot


def test_a_run_like_its_baseline_has_little_to_tell() -> None:
    run = snapshot({"f:0": outcome(), "f:1": outcome(COLLAPSED, 5e4)})

    news = baseline_news(compare(run, run))

    assert news.headline == "Against the baseline: nothing newly collapsed, 1 known collapse."
    assert news.lines == ("tiny under rome", "  known collapses: f:1")


def test_everything_that_can_be_told() -> None:
    before = {f"f:{n}": outcome(COLLAPSED, math.inf) if n < 2 else outcome() for n in range(12)}
    after = {f"f:{n}": outcome(COLLAPSED, math.nan) if n > 2 else outcome(INEFFECTIVE) for n in range(1, 12)}
    after |= {
        "f:1": outcome(INEFFECTIVE),
        "f:2": outcome(request="other"),
        "f:20": outcome(),
        "f:21": outcome(ERROR, None),
    }
    run = snapshot(after, seed=1)
    run = replace(run, groups={"tiny-rome": replace(ROME, hyperparameters={"steps": 6})})

    news = baseline_news(compare(snapshot(before), run))

    assert news.headline == "Against the baseline: 9 newly collapsed, 1 fixed; worse as a whole: tiny under rome."
    assert news.lines == (
        "other than in the baseline: seed 1, was 0",
        "tiny under rome",
        "  other than in the baseline: rome.steps 6, was 5",
        "  regression: ME-PPL rose, median ratio inf, tolerance 1.05",
        "  newly collapsed: f:3, f:4, f:5, f:6, f:7 and 4 more",
        "  fixed: f:1 (in 1 of them the edit no longer takes)",
        "  another request under the same name, judged as new: f:2",
        "  ended in an error: f:21",
        "  cases not in the baseline: 1",
        "  cases of the baseline not run: 1",
    )


def test_what_is_worse_as_a_whole_is_told_with_its_test() -> None:
    before = {f"f:{n}": outcome() for n in range(12)}
    after = {f"f:{n}": outcome(COLLAPSED, 201.0, success=False) if n < 7 else outcome() for n in range(12)}

    news = baseline_news(compare(snapshot(before), snapshot(after)))

    assert news.lines[1:3] == (
        "  regression: more cases collapse, 7 of 12, was 0 of 12 (exact McNemar test, p = 0.0078)",
        "  regression: more edits do not take, 7 of 12, was 0 of 12 (exact McNemar test, p = 0.0078)",
    )


def test_other_weights_are_said_and_nothing_is_claimed() -> None:
    run = snapshot({"f:0": outcome(COLLAPSED, 5e4)})
    other = replace(run, groups={"tiny-rome": replace(ROME, model_digest="f" * 32)})

    news = baseline_news(compare(run, other))

    assert news.headline == "Against the baseline: no case of this run can be compared with it."
    assert news.lines[1] == "  other than in the baseline: weights of tiny ffffffffffff, was d1g35t"
    assert news.lines[2].startswith("  not compared: the unedited model is another one")


@pytest.mark.parametrize(
    ("ratio", "text"), [(0.0, "1"), (math.log(1.234567), "1.235"), (math.inf, "inf"), (-math.inf, "0"), (800.0, "inf")]
)
def test_ratios(ratio: float, text: str) -> None:
    assert ratio_text(ratio) == text


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_names_are_shown_as_text(encoding: str) -> None:
    run = snapshot({"f:0": outcome(), "[red]\u202e\x1b[2Jf:1": outcome(COLLAPSED, 5e4)})
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, newline="\n")

    print_baseline_news(baseline_news(compare(run, run)), ["Baseline written."], make_console(file, width=80))
    file.flush()

    text = raw.getvalue().decode(encoding)
    assert "[red]\\u202e\\x1b[2Jf:1" in text
    assert "\x1b" not in text
    assert text.splitlines()[-2:] == [
        "Baseline written.",
        "Against the baseline: nothing newly collapsed, 1 known collapse.",
    ]
