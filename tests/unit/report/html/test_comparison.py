from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import vl_convert

from collapse_tests.baseline.snapshot import snapshot_of
from collapse_tests.records import EditQuality, Record, Verdict
from collapse_tests.report.html.charts.chart import Chart
from collapse_tests.report.html.charts.palette import config
from collapse_tests.report.html.comparison import ComparisonView, comparison_view
from collapse_tests.report.html.rendering import render_comparison
from collapse_tests.report.side_by_side import NamedRun, contrasts, entries
from collapse_tests.report.side_by_side_lines import contrast_lines
from tests.unit.report.html.conftest import task
from tests.unit.report.html.parsed import Page

MakeRecord = Callable[..., Record]

FACTS: Mapping[str, Any] = {"ppl_limit": 1000.0, "seed": 0}
HOSTILE = (
    '<script>document.title="owned"</script>',
    "</script><img src=x onerror=alert(1)>",
    "\u202eabc\x00\x1b[31m",
    "\ud800 alone",
    "x" * 10_000,
)


def run(letter: str, records: Sequence[Record], **facts: Any) -> NamedRun:
    return NamedRun(letter, f"reports/{letter}", snapshot_of(records, {**FACTS, **facts}), records)


@pytest.fixture
def pair(make_record: MakeRecord) -> tuple[NamedRun, NamedRun]:
    """ROME before and after a change, with every kind of pair, and MEMIT after it alone."""
    values = [("0", 200.0, 210.0), ("1", 5e4, 220.0), ("2", 230.0, math.inf), ("3", math.nan, 6e4), ("4", 240.0, None)]

    def one(name: str, me_ppl: float | None, **changes: Any) -> Record:
        verdict = Verdict.ERROR if me_ppl is None else Verdict.STABLE if me_ppl < 1000 else Verdict.COLLAPSED
        return make_record(f"f:{name}", verdict, me_ppl, tasks=(task(edited=0.75),), **changes)

    before = [one(name, was) for name, was, _ in values]
    after = [one(name, now, seed=1) for name, _, now in values]
    memit = [one(name, was, editor="memit") for name, was, _ in values[:2]]
    return run("A", before), run("B", [*after, *memit], seed=1)


def rendered(view: ComparisonView) -> Page:
    return Page(render_comparison(view))


def points(chart: Chart | None) -> dict[str, str]:
    assert chart is not None
    return {point["edit"]: point["kind"] for point in chart.spec["datasets"]["points"]}


def drawn(chart: Chart) -> str:
    svg: str = vl_convert.vegalite_to_svg({**chart.spec, "width": 400}, config=config())
    return svg


def test_every_chart_is_valid_and_draws(pair: tuple[NamedRun, NamedRun]) -> None:
    view = comparison_view(pair)

    assert [chart.id for chart in view.charts] == [
        "quality-smollm2-135m",
        "accuracy-smollm2-135m",
        "pairs-1",
        "pairs-2",
    ]
    for chart in view.charts:
        assert drawn(chart).count("<path") > 3
        assert chart.description


def test_it_is_one_document_whose_scripts_have_their_digests(pair: tuple[NamedRun, NamedRun]) -> None:
    page = rendered(comparison_view(pair))

    assert page.source.startswith("<!DOCTYPE html>")
    assert not page.all("link", "img", "iframe", "object", "embed", "base")
    policy = next(one.attributes["content"] for one in page.all("meta") if "http-equiv" in one.attributes)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert policy.count("'sha256-") == 2
    ids = [one.attributes["id"] for one in page.elements if "id" in one.attributes]
    assert len(ids) == len(set(ids))
    for link in page.all("a"):
        assert link.attributes["href"].removeprefix("#") in ids


def test_headings_go_down_one_level_at_a_time(pair: tuple[NamedRun, NamedRun]) -> None:
    levels = [int(one.tag[1]) for one in rendered(comparison_view(pair)).all("h1", "h2", "h3", "h4")]

    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))


def test_what_differs_comes_first(pair: tuple[NamedRun, NamedRun]) -> None:
    first, second = pair
    group = second.snapshot.groups["smollm2-135m-rome"]
    groups = {**second.snapshot.groups, "smollm2-135m-rome": replace(group, hyperparameters={"steps": 9})}
    view = comparison_view([first, replace(second, snapshot=replace(second.snapshot, groups=groups))])

    assert view.differences == ["B: seed 1, was 0 in A", "B: rome.steps 9, was its default in A"]
    text = rendered(view).source
    assert text.index("B: seed 1, was 0 in A") < text.index("rome.steps 9") < text.index('id="rates"')
    assert "No difference of settings, models or data is known." in rendered(comparison_view([first])).source


def test_tests_are_told_as_in_the_terminal(pair: tuple[NamedRun, NamedRun]) -> None:
    text = rendered(comparison_view(pair)).by_id("tests").text

    for contrast in contrasts(entries(pair)):
        lines = list(contrast_lines(contrast))
        assert len(lines) > 2
        for line in lines:
            assert line in text


def test_rates_of_all_runs_stand_side_by_side(pair: tuple[NamedRun, NamedRun]) -> None:
    view = comparison_view(pair)

    assert [(one.run, one.editor, one.hits, one.n, one.errors) for one in view.rates] == [
        ("A", "rome", 2, 5, 0),
        ("B", "rome", 2, 4, 1),
        ("B", "memit", 1, 2, 0),
    ]
    intervals = [entry.interval for entry in entries(pair)]
    assert [(one.low, one.high) for one in view.rates] == intervals


def test_each_pair_says_where_it_collapsed(pair: tuple[NamedRun, NamedRun]) -> None:
    rome, memit = comparison_view(pair).contrasts

    assert points(rome.chart) == {
        "f:0": "no collapse",
        "f:1": "collapse in A alone",
        "f:2": "collapse in B alone",
        "f:3": "collapse in both",
    }
    assert points(memit.chart) == {"f:0": "no collapse", "f:1": "collapse in both"}
    assert rome.chart is not None
    svg = drawn(rome.chart)
    assert ">inf<" in svg
    assert ">NaN<" in svg
    assert rome.cases is not None
    assert [row[0].text for row in rome.cases.rows] == ["f:2", "f:1"]


def test_both_axes_of_pairs_are_the_same(pair: tuple[NamedRun, NamedRun]) -> None:
    chart = comparison_view(pair).contrasts[0].chart
    assert chart is not None

    encodings = [layer["encoding"] for layer in chart.spec["layer"] if layer.get("data") == {"name": "points"}]
    (encoding,) = encodings
    assert encoding["x"]["scale"] == encoding["y"]["scale"]
    same = [point for point in chart.spec["datasets"]["points"] if point["edit"] == "f:0"]
    assert same[0]["x"] == pytest.approx(math.log10(200), abs=1e-3)
    assert same[0]["y"] == pytest.approx(math.log10(210), abs=1e-3)


def test_edit_quality_and_accuracy_of_each_run(make_record: MakeRecord) -> None:
    quality = EditQuality(True, True, False, True, 0.5, 0.1, None)
    records = [make_record("f:0", Verdict.STABLE, 200.0, quality=quality, tasks=(task(edited=0.5),))]
    first, second = run("A", records), run("B", [replace(one, tasks=(task(edited=math.nan),)) for one in records])

    view = comparison_view([first, second, replace(first, letter="C", records=())])

    def bars(chart: Chart) -> dict[tuple[str, str], float]:
        return {(bar["row"], bar["state"]): bar["value"] for bar in chart.spec["datasets"]["bars"]}

    assert bars(view.quality[0]) == {
        **{("success", f"{letter} rome"): 1.0 for letter in "ABC"},
        **{("generalisation", f"{letter} rome"): 0.0 for letter in "AB"},
        **{("locality", f"{letter} rome"): 1.0 for letter in "AB"},
    }
    assert bars(view.tasks[0]) == {
        ("completion", "unedited"): 0.9,
        ("completion", "A rome"): 0.5,
        ("completion", "B rome"): 0.0,
        ("completion", "C rome"): 0.5,
        ("completion", "random"): 0.25,
    }


def test_editors_of_one_run_are_told_apart(make_record: MakeRecord) -> None:
    records = [make_record("f:0", Verdict.STABLE, 200.0, editor=editor) for editor in ("rome", "memit")]

    (contrast,) = comparison_view([run("A", records)]).contrasts

    assert contrast.chart is not None
    assert "ME-PPL in rome across and in memit upwards" in contrast.chart.description


def test_outcomes_under_other_rules_are_shown_and_not_tested(pair: tuple[NamedRun, NamedRun]) -> None:
    first, second = pair
    other = replace(second, snapshot=replace(second.snapshot, facts={"ppl_limit": 500.0}))

    view = comparison_view([first, other])

    assert "B: ppl-limit 500, was 1000 in A" in view.differences
    assert view.contrasts[0].lines == ["not tested, as a collapse is another thing in each: --ppl-limit"]
    assert view.contrasts[0].cases is None
    assert len(view.contrasts[0].chart.spec["datasets"]["limits"]) == 2  # type: ignore[union-attr]


def test_how_scenarios_were_measured_keeps_no_single_edits_from_a_test(pair: tuple[NamedRun, NamedRun]) -> None:
    facts = {**FACTS, "downstream": "never", "scenarios": ["hard"], "scenario_downstream": "final", "tasks": ["a"]}
    first, second = pair
    first = replace(first, snapshot=replace(first.snapshot, facts=facts))

    def lines(**changes: Any) -> Sequence[str]:
        other = replace(second, snapshot=replace(second.snapshot, facts={**facts, **changes}))
        view = comparison_view([first, other])
        assert view.differences
        return view.contrasts[0].lines

    assert lines(scenario_downstream="never")[0] == "4 requests measured in both"
    assert lines(tasks=["b"])[0] == "4 requests measured in both"
    assert lines(downstream="each", tasks=["b"])[0].startswith("not tested")


def test_no_editor_takes_the_place_of_the_unedited_model(make_record: MakeRecord) -> None:
    names = ("unedited", "random")
    records = [make_record("f:0", Verdict.STABLE, 200.0, editor=name, tasks=(task(edited=0.5),)) for name in names]

    (chart,) = comparison_view([run("A", records)]).tasks

    bars = {bar["state"]: bar["value"] for bar in chart.spec["datasets"]["bars"]}
    assert bars == {"unedited": 0.9, "unedited (2)": 0.5, "random (2)": 0.5, "random": 0.25}


def test_runs_without_a_common_request_have_no_chart_of_pairs(make_record: MakeRecord) -> None:
    first = run("A", [make_record("f:0", Verdict.STABLE, 200.0)])
    second = run("B", [make_record("g:0", Verdict.STABLE, 200.0)])

    (contrast,) = comparison_view([first, second]).contrasts

    assert contrast.chart is None
    assert contrast.lines[0] == "0 requests measured in both"


def test_many_pairs_are_thinned_and_the_telling_ones_stay(make_record: MakeRecord) -> None:
    before = [make_record(f"f:{n:04}", Verdict.STABLE, 200.0) for n in range(2_600)]
    after = [*before[:-1], make_record("f:2599", Verdict.COLLAPSED, 100.0)]

    chart = comparison_view([run("A", before), run("B", after)]).contrasts[0].chart

    assert len(points(chart)) == 2_500
    assert points(chart)["f:2599"] == "collapse in B alone"
    assert chart is not None
    assert "Of 2,600 edits, the 2,500" in chart.notes[1]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(make_record: MakeRecord, text: str) -> None:
    records = [
        make_record(f"f:{text}", Verdict.STABLE, 200.0, model=text, editor=text, tasks=(task(text),)),
        make_record(f"g:{text}", Verdict.COLLAPSED, 5e4, model=text, editor=text, tasks=(task(text),)),
    ]
    other = [replace(records[0], verdict=Verdict.COLLAPSED), records[1]]
    runs = [replace(run(letter, found), place=text) for letter, found in (("A", records), ("B", other))]

    view = comparison_view(runs)
    page = rendered(view)

    assert [one.attributes for one in page.all("script")].count({}) == 2
    assert not page.all("img")
    assert not re.search("[\x00\x1b\u202e]", page.source)
    page.source.encode("utf-8")
    assert len(page.source) < 200_000
    for chart in view.charts:
        drawn(chart)
