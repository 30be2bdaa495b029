from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import vl_convert

from collapse_tests.records import Record, Verdict
from collapse_tests.report.html.charts.accuracy import accuracy_chart
from collapse_tests.report.html.charts.chart import Chart, group_labels
from collapse_tests.report.html.charts.curves import curve_charts
from collapse_tests.report.html.charts.gallery import gallery, single_figures
from collapse_tests.report.html.charts.heat_maps import heat_map_charts
from collapse_tests.report.html.charts.log_axis import LogAxis
from collapse_tests.report.html.charts.palette import VERDICT_COLOURS, config
from collapse_tests.report.html.charts.scatter import point_mark, scatter_chart, scatter_view
from collapse_tests.report.html.charts.tasks import task_charts
from collapse_tests.report.html.run_data import RunData
from collapse_tests.report.task_rows import summarise_tasks
from tests.unit.report.html.conftest import detail, sequence, task


def labels_of(records: Sequence[Record]) -> dict[tuple[str, str], str]:
    return group_labels((record.model, record.editor) for record in records)


def present(chart: Chart | None) -> Chart:
    assert chart is not None
    return chart


def drawn(chart: Chart) -> str:
    svg: str = vl_convert.vegalite_to_svg({**chart.spec, "width": 400}, config=config())
    return svg


def test_every_chart_of_a_run_is_valid_and_draws(run: RunData) -> None:
    found = gallery(run, summarise_tasks(run.records))

    assert [chart.id for chart in found.charts] == [
        "me-ppl",
        "tasks-rome",
        "accuracy",
        "weights-failed",
        "weights-stable",
        "sequences-rome",
    ]
    for chart in found.charts:
        assert drawn(chart).count("<path") > 3
        assert chart.description


def test_the_scatter_has_a_band_for_what_is_no_number(run: RunData) -> None:
    svg = drawn(present(scatter_chart(scatter_view(run.records))))

    assert ">inf<" in svg
    assert ">NaN<" in svg
    assert ">limit 1,000<" in svg


def test_each_measured_edit_is_one_point(run: RunData) -> None:
    chart = present(scatter_chart(scatter_view(run.records)))

    points = chart.spec["datasets"]["points"]
    assert len(points) == 6
    assert {point["group"] for point in points} == {"rome", "memit"}
    assert chart.spec["datasets"]["cells"] == []


def test_beyond_a_bound_edits_are_counted_in_cells(make_record: Callable[..., Record]) -> None:
    records = [
        make_record(f"facts:{index:04d}", Verdict.STABLE, 170.0 + index % 7, editor=("rome", "ft")[index % 2])
        for index in range(2_600)
    ] + [make_record("hard:0000", Verdict.COLLAPSED, 5_000.0)]

    spec = present(scatter_chart(scatter_view(records))).spec

    assert [point["case"] for point in spec["datasets"]["points"]] == ["smollm2-135m-rome-hard:0000"]
    for group, edits in (("all", 2_600), ("rome", 1_300), ("ft", 1_300)):
        cells = [cell for cell in spec["datasets"]["cells"] if cell["group"] == group]
        assert sum(cell["edits"] for cell in cells) == edits
        assert len(cells) < 200


def test_a_row_of_the_table_knows_its_point(run: RunData) -> None:
    view = scatter_view(run.records)

    number, place, group = point_mark(view, run.records[0]).split("|")

    (point,) = [one for one in present(scatter_chart(view)).spec["datasets"]["points"] if "hard:0000" in one["case"]]
    assert (float(number), float(place), group) == (point["number"], point["place"], point["group"])
    assert point_mark(view, run.records[-1]) == ""  # an error has no ME-PPL


def test_nothing_measured_is_no_chart(make_record: Callable[..., Record]) -> None:
    records = [make_record("hard:0000", Verdict.ERROR, None)]

    assert scatter_chart(scatter_view(records)) is None
    assert accuracy_chart(records, labels_of(records)) is None
    assert task_charts(summarise_tasks(records), labels_of(records)) == []
    assert heat_map_charts(records, {}) == []
    assert curve_charts([]) == []


def test_bars_stand_beside_the_unedited_model_and_chance(run: RunData) -> None:
    (chart,) = task_charts(summarise_tasks(run.records), labels_of(run.records))

    bars = {row["state"]: row["value"] for row in chart.spec["datasets"]["bars"]}
    # One collapsed edit at 0.25, one whose score is no number and counts as 0.
    assert bars == {"unedited": 0.9, "survived": 0.9, "collapsed": 0.125, "random": 0.25}
    assert "0.12 collapsed" in drawn(chart)


def test_many_groups_and_tasks_are_cut_and_said(make_record: Callable[..., Record]) -> None:
    many = tuple(task(f"task{index}") for index in range(14))
    records = [make_record("hard:0000", Verdict.COLLAPSED, 5e4, editor=f"e{index}", tasks=many) for index in range(13)]

    charts = task_charts(summarise_tasks(records), labels_of(records))

    assert len(charts) == 12
    assert "first 12 of 14 tasks" in charts[0].notes[0]
    assert "first 12 of 13 models and editors" in charts[0].notes[1]
    assert "first 8 of 14 tasks" in present(accuracy_chart(records, labels_of(records))).notes[-1]


def test_accuracy_is_averaged_over_half_decades(make_record: Callable[..., Record]) -> None:
    scores = {1_100.0: 0.2, 1_200.0: 0.4, 9_000.0: 0.6, math.inf: 0.0}
    records = [
        make_record(f"hard:{index}", Verdict.COLLAPSED, me_ppl, tasks=(task(edited=score),))
        for index, (me_ppl, score) in enumerate(scores.items())
    ]

    means = present(accuracy_chart(records, labels_of(records))).spec["datasets"]["means"]

    assert [(mean["accuracy"], mean["edits"]) for mean in means] == [(0.3, 2), (0.6, 1), (0.0, 1)]


def test_too_many_measurements_are_drawn_as_means(make_record: Callable[..., Record]) -> None:
    records = [make_record(f"hard:{index}", Verdict.COLLAPSED, 2e3, tasks=(task(),)) for index in range(2_100)]

    chart = present(accuracy_chart(records, labels_of(records)))

    assert chart.spec["datasets"]["points"] == []
    assert "2,100 single measurements are too many" in chart.notes[1]


def test_curves_start_at_the_unedited_model() -> None:
    (chart,) = curve_charts([sequence(), sequence("normal", (171.0, math.nan))])

    steps = chart.spec["datasets"]["steps"]
    assert [row["step"] for row in steps if row["sequence"] == "hard"] == [0, 1, 2, 3]
    assert [row["after"] for row in steps if row["sequence"] == "normal"] == ["170.00", "171.00", "nan"]
    assert "hard: from 170.00 to 2,000 over 3 edits, collapsed after 3." in chart.description


def test_a_long_curve_is_thinned_but_keeps_its_collapse_and_end() -> None:
    long = sequence("long", tuple(170.0 + index for index in range(2_000)), collapsed_after=831)

    (chart,) = curve_charts([long])

    shown = [row["step"] for row in chart.spec["datasets"]["steps"]]
    assert len(shown) <= 403
    assert {0, 831, 2_000} <= set(shown)
    assert "about 400 edits" in chart.notes[0]


def test_sequences_without_a_step_have_no_curve() -> None:
    assert curve_charts([sequence("hard", (), verdict=Verdict.ERROR, error="no")]) == []


def test_the_stable_map_in_front_is_the_nearest(make_record: Callable[..., Record]) -> None:
    far = make_record("a:0", Verdict.STABLE, 200.0, request={"prompt": "In short, the Granite", "subject": "Granite"})
    near = make_record("a:1", Verdict.STABLE, 200.0)
    failed = make_record("a:2", Verdict.COLLAPSED, 3e4)
    records = [far, near, failed]

    left, right = heat_map_charts(records, {record.case_id: detail(record.case_id) for record in records})

    assert left.spec["datasets"]["maps"][0]["map"].startswith(failed.case_id)
    assert right.spec["datasets"]["maps"][0]["map"].startswith(near.case_id)


def test_maps_share_a_scale_and_mark_what_is_no_number(make_record: Callable[..., Record]) -> None:
    record = make_record("a:0", Verdict.COLLAPSED, math.nan)
    from collapse_tests.case_detail import CaseDetail, HeatMap

    odd = HeatMap("w", (4, 4), ((math.nan, 1e-20), (1.0, 0.0)), math.nan)

    (chart,) = heat_map_charts([record], {record.case_id: CaseDetail(record.case_id, (), (odd,))})

    assert chart.spec["datasets"]["maps"][0]["cells"] == [None, -6.0, 0.0, -6.0]
    assert chart.notes == ["Red cells are no finite number."]
    assert "<path" in drawn(chart)


def test_a_map_without_any_change_is_no_chart(make_record: Callable[..., Record]) -> None:
    from collapse_tests.case_detail import CaseDetail, HeatMap

    record = make_record("a:0", Verdict.COLLAPSED, 2e3)
    empty = CaseDetail(record.case_id, (), (HeatMap("w", (4, 4), ((0.0, 0.0),), 0.0),))

    assert heat_map_charts([record], {record.case_id: empty}) == []


def test_figures_show_every_group_alone(run: RunData) -> None:
    found = {chart.id: chart for chart in single_figures(gallery(run, summarise_tasks(run.records)))}

    assert {"me-ppl", "me-ppl-rome", "me-ppl-memit"} <= found.keys()

    assert drawn(found["me-ppl-rome"]) != drawn(found["me-ppl"]) != drawn(found["me-ppl-memit"])


@pytest.mark.parametrize(
    ("values", "low", "top"),
    [
        ((150.0, 3e4), 2, 5),
        ((100.0, 1000.0), 2, 3),
        ((5.0,), 0, 1),
        ((0.0, -3.0), 0, 1),
        ((), 0, 1),
        ((1e308,), 308, 309),
    ],
)
def test_the_axis_ends_at_powers_of_ten(values: tuple[float, ...], low: float, top: float) -> None:
    axis = LogAxis.over(values)

    assert (axis.low, axis.top, axis.high) == (low, top, top)
    assert all(axis.low <= axis.place(value) <= axis.high for value in values)


def test_inf_and_nan_lie_beyond_every_number() -> None:
    values = [200.0, 1.7e308, math.inf, math.nan]

    axis = LogAxis.over(values)

    places = [axis.place(value) for value in values]
    assert places == sorted(set(places))
    assert axis.top < axis.edge < places[2]
    assert places[3] < axis.high
    assert all(map(math.isfinite, places))


def relative_luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((relative_luminance(one), relative_luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("paper", ["#ffffff", "#14171c"])
def test_marks_stand_out_on_either_page(paper: str) -> None:
    assert all(contrast(colour, paper) >= 3 for colour in VERDICT_COLOURS.values())


@pytest.mark.parametrize(("dark", "paper"), [(False, "#ffffff"), (True, "#14171c")])
def test_words_of_charts_can_be_read(dark: bool, paper: str) -> None:
    settings: dict[str, Any] = config(dark=dark)

    assert contrast(settings["axis"]["labelColor"], paper) >= 4.5
    assert contrast(settings["legend"]["labelColor"], paper) >= 4.5
