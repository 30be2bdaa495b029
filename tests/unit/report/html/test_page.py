from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from itertools import pairwise
from pathlib import Path

import pytest

from collapse_tests.errors import InfrastructureError
from collapse_tests.records import Record, Verdict
from collapse_tests.report.baseline_news import BaselineNews
from collapse_tests.report.certificates import certificate_lines
from collapse_tests.report.html.page import page_view
from collapse_tests.report.html.rendering import REPORT_FILE, embedded_json, render_page, write_page
from collapse_tests.report.html.run_data import RunData
from collapse_tests.report.rows import summarise
from tests.unit.report.html.conftest import BUNDLE, detail, sequence, task
from tests.unit.report.html.parsed import Page

#: Attributes from which a browser would load something.
LOADING = {"src", "srcset", "href", "data", "action", "poster", "background", "xlink:href", "formaction"}

HOSTILE = (
    '<script>document.title="owned"</script>',
    '</script><img src=x onerror=alert(1)><style>@import "https://evil.example"</style>',
    "a\"b'c {{ 7 * 7 }} {% raw %} ${x} -->",
    "one\r\ntwo\tthree\x00\x1b[31m",
    "\u202eabc\u2066 שלום",
    "\ud800 alone",
    "x" * 100_000,
    "javascript:alert(1)",
)


NEWS = BaselineNews("2 cases newly collapsed.", ("newly collapsed: hard:0001", "  fixed: normal:0003"))


def rendered(run: RunData, news: BaselineNews | None = None) -> Page:
    return Page(render_page(page_view(replace(run, news=news))))


def hostile_run(make_record: Callable[..., Record], text: str) -> RunData:
    fields = dict.fromkeys(("prompt", "subject", "target_new", "ground_truth", "rephrase_prompt"), text)
    records = [
        make_record(
            f"{index}:{text}",
            verdict,
            None if verdict is Verdict.ERROR else value,
            model=text,
            editor=text,
            request=fields,
            reasons=(text,),
            notes=(text,),
            error=text if verdict is Verdict.ERROR else None,
            continuation_before=text,
            continuation_after=text,
            tasks=(task(text, metric=text),),
            diagnostics={text: float(index), "denominator": float(index)},
        )
        for index, (verdict, value) in enumerate(
            [(Verdict.COLLAPSED, math.nan), (Verdict.STABLE, 170.0), (Verdict.ERROR, None)]
        )
    ]
    details = {record.case_id: detail(record.case_id) for record in records}
    environment = {text: text, "settings": {"editors": [text], "models": [text], "edits": [text]}}
    scenarios = [sequence(text, editor=text, reasons=(text,))]
    return RunData(text, records, scenarios, details, environment, (text,))


def test_it_is_one_document_that_loads_nothing(run: RunData) -> None:
    page = rendered(run, NEWS)

    assert page.source.startswith("<!DOCTYPE html>")
    assert not page.all("link", "img", "iframe", "object", "embed", "base", "audio", "video")
    for element in page.elements:
        for name in LOADING & element.attributes.keys():
            assert element.attributes[name].startswith("#"), element
    (style,) = page.all("style")
    assert not re.search(r"@import|url\(", style.text)
    policy = next(one.attributes["content"] for one in page.all("meta") if "http-equiv" in one.attributes)
    assert policy.startswith("default-src 'none'; ")
    assert not re.search(r"https?:|unsafe-eval|script-src[^;]*unsafe-inline", policy)


def test_scripts_are_allowed_by_their_digests_alone(run: RunData) -> None:
    import base64
    import hashlib

    page = rendered(run)
    policy = next(one.attributes["content"] for one in page.all("meta") if "http-equiv" in one.attributes)
    scripts = [one for one in page.all("script") if one.attributes.get("type") != "application/json"]

    assert len(scripts) == 2
    assert scripts[0].text == BUNDLE
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_the_first_screen_says_what_happened(run: RunData) -> None:
    page = rendered(run, NEWS)

    verdict = page.by_id("verdict").text
    assert "3 of 6 edits collapsed smollm2-135m under rome, memit; worst ME-PPL nan" in verdict
    assert "1 of 1 sequence collapsed the model" in verdict
    assert "66.7% (9.4% to 99.2%)" in verdict  # 2 of 3, and an error in neither number
    assert "and 1 error" in verdict
    assert NEWS.headline in verdict
    assert all(line in verdict for line in NEWS.lines)


@pytest.mark.parametrize(
    ("settings", "shown"), [({"riskiest": None}, True), ({"riskiest": 5}, False), ({}, False), (None, False)]
)
def test_what_edits_without_a_collapse_are_worth_is_said_where_they_were_drawn(
    make_record: Callable[..., Record], settings: dict[str, object] | None, shown: bool
) -> None:
    records = [make_record(f"f:{n}", Verdict.STABLE, 200.0) for n in range(72)]
    records.append(make_record("f:0", Verdict.COLLAPSED, 5e4, editor="memit"))
    environment = {} if settings is None else {"settings": settings}

    page = rendered(RunData("x", records, environment=environment))

    (line,) = certificate_lines(summarise(records))
    assert line.startswith("smollm2-135m under rome: no collapse in 72 cases: below 4.1%")
    assert (line in page.by_id("verdict").text) is shown


def test_headings_go_down_one_level_at_a_time(run: RunData) -> None:
    levels = [int(one.tag[1]) for one in rendered(run, NEWS).all("h1", "h2", "h3", "h4", "h5")]

    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_ids_are_unique_and_every_reference_has_its_target(run: RunData) -> None:
    page = rendered(run)

    ids = [one.attributes["id"] for one in page.elements if "id" in one.attributes]
    assert len(ids) == len(set(ids))
    for element in page.elements:
        for name in ("href", "aria-labelledby"):
            if name in element.attributes:
                assert element.attributes[name].lstrip("#") in ids


def test_it_can_be_used_by_keyboard_and_screen_reader(run: RunData) -> None:
    page = rendered(run)

    assert page.all("html")[0].attributes["lang"] == "en"
    assert page.all("a")[0].attributes == {"class": "skip", "href": "#main"}
    assert len(page.all("main")) == len(page.all("header")) == len(page.all("nav")) == 1
    assert all(one.attributes["scope"] in ("row", "col") for one in page.all("th"))
    assert len(page.all("caption")) == 5  # rates, groups, tasks, cases and sequences
    for scrolling in [one for one in page.elements if one.attributes.get("class") == "scroll"]:
        assert scrolling.attributes["tabindex"] == "0"
        assert scrolling.attributes["role"] == "region"
    figures = page.all("figure")
    assert figures
    assert all("What the chart shows, in words" in one.text for one in figures)


def test_verdicts_are_written_out_beside_their_colours(run: RunData) -> None:
    marked = [one for one in rendered(run).elements if one.attributes.get("class", "").startswith("mark ")]

    assert marked
    assert all(one.attributes["aria-hidden"] == "true" for one in marked)
    cells = [one.text.strip() for one in rendered(run).all("td")]
    assert {"collapsed", "stable", "ineffective", "error"} <= set(cells)


def test_inf_and_nan_are_shown_and_sort_as_the_worst(run: RunData) -> None:
    page = rendered(run)

    keys = [one.attributes["data-key"] for one in page.all("td") if "data-key" in one.attributes]
    assert "-inf" in keys  # not measured
    assert {"inf", "nan"} <= {one.text for one in page.all("td")}


def test_failing_cases_have_sections_that_the_table_leads_to(run: RunData) -> None:
    page = rendered(run)

    sections = [one for one in page.all("details") if one.attributes.get("class") == "case"]
    assert len(sections) == 4  # three collapsed ones and an error; the ineffective one passed
    assert {one.attributes["href"] for one in page.all("a")} >= {f"#{one.attributes['id']}" for one in sections}
    assert "nan" in sections[0].text
    assert "ME-PPL 201.00, here inf" not in sections[1].text
    assert "201.00, here inf" in sections[1].text
    assert "--seed 3 -k" in sections[1].text
    assert "editor 'rome' raised ValueError: no" in sections[3].text


def test_ineffective_cases_have_sections_where_they_failed(run: RunData) -> None:
    settings = {**run.environment["settings"], "fail_ineffective": True}

    page = rendered(replace(run, environment={"settings": settings}))

    assert len([one for one in page.all("details") if one.attributes.get("class") == "case"]) == 5


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_stays_text(make_record: Callable[..., Record], text: str) -> None:
    source = render_page(page_view(hostile_run(make_record, text)))
    page = Page(source)

    source.encode("utf-8")
    assert len(page.all("script")) == 3
    assert len(page.all("style")) == 1
    assert not page.all("img", "iframe")
    assert not any(name.startswith("on") for one in page.elements for name in one.attributes)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00\x1b]", source)
    assert len(source) < 1_500_000
    assert all(one.attributes["href"].startswith("#") for one in page.all("a"))


def test_markup_in_a_prompt_is_shown_as_it_is(make_record: Callable[..., Record]) -> None:
    page = rendered(hostile_run(make_record, HOSTILE[0]))

    assert any(HOSTILE[0] in one.text for one in page.all("dd"))


def test_data_of_charts_hold_no_markup_and_come_back() -> None:
    data = {"a": "</script><!-- & \u2028 \ud800", "b": [None, 1.5]}

    text = embedded_json(data)

    assert not set(text) & set("<>&\u2028")
    assert json.loads(text) == data
    assert unescape(text) == text


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_data_of_charts_are_strict_json(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        embedded_json({"a": value})


def test_an_empty_run_says_so() -> None:
    page = rendered(RunData("empty"))

    assert "No edits were tested." in page.by_id("verdict").text
    assert not page.all("figure", "table")
    assert len(page.all("script")) == 1  # nothing to draw, so nothing to draw it with


def test_a_run_of_one_case(make_record: Callable[..., Record]) -> None:
    page = rendered(RunData("one", [make_record("hard:0000", Verdict.STABLE, 201.0)]))

    assert "None of 1 edit collapsed" in page.by_id("verdict").text
    assert [one.attributes["id"] for one in page.all("figure")] == ["me-ppl"]
    assert not [one for one in page.all("details") if one.attributes.get("class") == "case"]


def test_a_run_of_errors_alone(make_record: Callable[..., Record]) -> None:
    page = rendered(RunData("errors", [make_record(f"hard:{one}", Verdict.ERROR, None) for one in range(3)]))

    verdict = page.by_id("verdict").text
    assert "Nothing was learnt" in verdict
    assert "nothing was learnt" in verdict  # in the place of a rate of 0 of 0
    assert not page.all("figure")
    assert len([one for one in page.all("details") if one.attributes.get("class") == "case"]) == 3


def test_a_run_of_sequences_alone() -> None:
    page = rendered(RunData("sequences", [], [sequence(), sequence("normal", (171.0,), verdict=Verdict.STABLE)]))

    assert "1 of 2 sequences collapsed the model" in page.by_id("verdict").text
    assert "No edits were tested" not in page.by_id("verdict").text
    assert [one.attributes["id"] for one in page.all("figure")] == ["sequences-rome"]


def test_a_run_in_which_every_number_is_nan(make_record: Callable[..., Record]) -> None:
    records = [
        make_record(f"hard:{one}", Verdict.COLLAPSED, math.nan, diagnostics={"denominator": math.nan})
        for one in range(3)
    ]

    page = rendered(RunData("nan", records))

    assert "3 of 3 edits collapsed" in page.by_id("verdict").text
    assert "no number" not in page.by_id("failing").text  # a distribution of nothing is not drawn
    assert "3 are inf or NaN" in page.by_id("me-ppl").text


def test_what_is_too_much_is_left_out_and_said(make_record: Callable[..., Record]) -> None:
    records = [
        make_record(f"facts:{index:04d}", Verdict.COLLAPSED if index % 4 == 0 else Verdict.STABLE, 200.0 + index)
        for index in range(3_000)
    ]
    records += [make_record(f"broken:{index:04d}", Verdict.ERROR, None) for index in range(600)]

    page = rendered(RunData("large", records))

    assert "The worst 2,000 of 3,600 cases; the other 1,600 are in records.jsonl" in page.by_id("tables").text
    assert "The worst 200 of 1,350 failing cases" in page.by_id("failing").text
    assert "Of 3,000 edits, points are all 750 that collapsed; the other 2,250" in page.by_id("me-ppl").text
    assert len([one for one in page.all("details") if one.attributes.get("class") == "case"]) == 200


def test_problems_with_the_files_are_named(run: RunData) -> None:
    page = rendered(replace(run, problems=("the last record was cut off",)))

    assert "the last record was cut off" in page.by_id("verdict").text


def test_a_page_that_cannot_be_written_is_an_error_of_the_package(run: RunData, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(InfrastructureError, match=r"cannot write the page .*file.report\.html"):
        write_page(run, tmp_path / "file" / REPORT_FILE)


def test_a_page_takes_the_place_of_an_older_one(run: RunData, tmp_path: Path) -> None:
    file = tmp_path / REPORT_FILE
    file.write_text("old")

    write_page(run, file)

    assert file.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert [path.name for path in tmp_path.iterdir()] == [REPORT_FILE]
