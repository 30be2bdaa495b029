"""What a reader does with mouse and keys: look at points, choose some, sort, filter and export tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.browser.charts import POINTS, draw, point_of, points, tooltip
from tests.browser.chromium import Browser
from tests.browser.tables import Table

pytestmark = pytest.mark.browser

_CASES = 28


@pytest.fixture
def cases(browser: Browser, page: Path) -> Table:
    """The table of edits of the page, which is just opened."""
    browser.open(page)
    return Table(browser, "case-table")


def topmost(browser: Browser) -> list[WebElement]:
    """Points of the chart of ME-PPL, the highest first."""
    return sorted(browser.all(POINTS), key=lambda point: float(point.rect["y"]))


def drag_over_the_band(browser: Browser) -> None:
    """Drag the mouse over all points of NaN and inf, from the top left to the lower right."""
    places = [point.rect for point in topmost(browser)[:8]]
    left, right = (pick(float(place["x"]) for place in places) for pick in (min, max))
    corner = topmost(browser)[0]
    mouse = ActionChains(browser.driver, duration=20)
    mouse.move_to_element_with_offset(corner, round(left - corner.rect["x"]) - 8, -8).click_and_hold()
    mouse.move_by_offset(20, 10)
    mouse.move_by_offset(round(right - left) + 10, round(places[-1]["y"] - places[0]["y"]) + 12).release().perform()


@pytest.mark.usefixtures("cases")
def test_a_point_tells_of_its_edit_while_the_mouse_is_on_it(browser: Browser) -> None:
    draw(browser)
    case = "tiny-llama-memit-hard:0000"  # drawn after its neighbours, and so above them

    ActionChains(browser.driver).move_to_element(point_of(browser, case)).perform()

    tip = browser.until(lambda: tooltip(browser, case), "a tooltip")
    rows = [row.text.split(maxsplit=1) for row in tip.find_elements("css selector", "tr")]
    told = {row[0]: row[1] for row in rows}
    assert told["verdict"] == "collapsed"
    assert told["case"] == case
    assert told["edit"] == "Granite is a sort of → soup"
    assert set(told) == {"case", "edit", "verdict", "ME-PPL", "growth"}
    ActionChains(browser.driver).move_to_element(browser.one("#me-ppl h3")).perform()
    browser.until(lambda: tooltip(browser, case) is None, "the tooltip to go")


def test_dragging_over_points_lists_them(browser: Browser, cases: Table) -> None:
    draw(browser)

    drag_over_the_band(browser)

    browser.until(lambda: "in the part of the chart" in cases.count, "the table to follow the chart")
    assert set(cases.column("ME-PPL after")) == {"inf", "nan"}
    assert cases.count == f"8 of {_CASES} rows, in the part of the chart"
    ActionChains(browser.driver).double_click(browser.one("#me-ppl .brush_brush path")).perform()
    browser.until(lambda: cases.count == f"{_CASES} of {_CASES} rows", "all rows after a double click")
    assert not cases.part("[data-all]").is_displayed()


def test_all_edits_again_ends_the_choice_in_the_chart_as_well(browser: Browser, cases: Table) -> None:
    draw(browser)
    faint = (
        "return [...document.querySelectorAll(arguments[0])].filter((one) => one.getAttribute('opacity') < 0.5).length"
    )
    drag_over_the_band(browser)
    browser.until(lambda: browser.run(faint, POINTS) == 16, "the other points to fade")

    cases.part("[data-all]").click()

    browser.until(lambda: cases.count == f"{_CASES} of {_CASES} rows", "all rows")
    browser.until(lambda: browser.run(faint, POINTS) == 0, "all points to come back")
    browser.choose("#me-ppl select", "tiny-gpt2 under memit")
    browser.until(lambda: points(browser) == 6, "the points of one editor")
    assert cases.count == f"{_CASES} of {_CASES} rows"


def test_choosing_an_editor_keeps_the_part_of_the_chart(browser: Browser, cases: Table) -> None:
    draw(browser)
    drag_over_the_band(browser)
    browser.until(lambda: cases.count.startswith("8 of"), "the table to follow the chart")

    browser.choose("#me-ppl select", "tiny-gpt2 under memit")

    browser.until(lambda: cases.count.startswith("2 of"), "the table to follow the choice")
    assert {case.rsplit("-", 1)[0] for case in cases.column("case")} == {"tiny-gpt2-memit"}


def test_drawing_anew_ends_the_choice_in_the_table_as_well(browser: Browser, cases: Table) -> None:
    draw(browser)
    drag_over_the_band(browser)
    browser.until(lambda: cases.count.startswith("8 of"), "the table to follow the chart")

    browser.prefer(dark=True)

    browser.until(lambda: cases.count == f"{_CASES} of {_CASES} rows", "all rows beside a chart without a choice")


def test_a_click_on_a_heading_sorts_and_another_turns_it_round(cases: Table) -> None:
    after = "ME-PPL after"

    cases.sorter(after).click()

    assert cases.direction(after) == "descending"
    falling = cases.column(after)
    assert falling[:8] == ["nan"] * 4 + ["inf"] * 4
    assert falling[8:12] == ["39,000", "36,000", "33,000", "30,000"]
    assert falling[-5:] == ["170.00", *["–"] * 4]  # below all numbers: what was not measured
    cases.sorter(after).click()
    assert cases.direction(after) == "ascending"
    assert cases.column(after) == falling[::-1]


def test_headings_sort_by_keyboard(cases: Table) -> None:
    cases.sorter("case").send_keys(Keys.ENTER)

    assert cases.direction("case") == "ascending"
    assert cases.column("case") == sorted(cases.column("case"))
    cases.sorter("case").send_keys(Keys.SPACE)
    assert cases.direction("case") == "descending"
    assert cases.column("case") == sorted(cases.column("case"), reverse=True)
    cases.sorter("verdict").send_keys(Keys.ENTER)
    assert (cases.direction("case"), cases.direction("verdict")) == (None, "ascending")


def test_filters_narrow_the_rows_and_say_how_many_are_left(browser: Browser, cases: Table) -> None:
    assert cases.count == f"{_CASES} of {_CASES} rows"

    cases.part("[data-filter]").send_keys("MEMIT-hard")

    assert cases.count == f"6 of {_CASES} rows"
    assert all("memit-hard" in case for case in cases.column("case"))
    cases.part("[data-filter]").clear()
    browser.choose('[data-table="case-table"] select', "ineffective")
    assert cases.count == f"4 of {_CASES} rows"
    assert set(cases.column("verdict")) == {"ineffective"}
    cases.part("[data-filter]").send_keys("nothing has this")
    assert cases.count == f"0 of {_CASES} rows"
    assert cases.rows == []


def test_the_csv_has_the_rows_that_are_shown_in_their_order(browser: Browser, cases: Table) -> None:
    cases.part("[data-filter]").send_keys("rome")
    browser.choose('[data-table="case-table"] select', "collapsed")
    cases.sorter("ME-PPL after").click()
    cases.sorter("ME-PPL after").click()

    exported = cases.export()

    assert [row["case"] for row in exported] == cases.column("case")
    assert [row["ME-PPL after"] for row in exported] == ["30000", "36000", "inf", "inf", "nan", "nan"]
    assert list(exported[0]) == cases.heads
    assert exported[0]["denominator"] == "0.04"
    assert exported[0]["edit"] == "Granite is a sort of → soup"


def test_every_table_works(browser: Browser, cases: Table) -> None:
    names = [str(box.get_attribute("data-table")) for box in browser.all("[data-table]")]

    assert cases.name in names
    assert len(names) == 4
    for name in names:
        table = Table(browser, name)
        table.sorter(table.heads[-1]).click()
        assert table.direction(table.heads[-1]) is not None
        assert len(table.export()) == len(table.rows) > 1
    assert browser.complaints() == []


def test_a_case_in_the_table_leads_to_its_section(browser: Browser, cases: Table) -> None:
    link = next(one for one in browser.all("#tables tbody a") if one.get_attribute("hash") == "#case-7")
    section = browser.one("#case-7")
    assert section.get_attribute("open") is None

    link.click()

    browser.until(lambda: section.get_attribute("open") is not None, "the section to unfold")
    assert section.find_element("css selector", "h3").text.endswith(link.text)
    browser.until(lambda: 0 <= browser.run("return arguments[0].getBoundingClientRect().top", section) < 200, "its top")


def test_the_command_to_run_a_case_again_is_copied(browser: Browser, cases: Table) -> None:
    granted = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    browser.driver.execute_cdp_cmd("Browser.grantPermissions", granted)
    button = browser.one("#case-1 [data-copy]")

    button.click()

    browser.until(lambda: button.text == "copied", "the button to say so")
    command = browser.one("#case-1 pre").text
    assert command.startswith("pytest --editor ")
    cases.part("[data-filter]").send_keys(Keys.CONTROL + "v")
    assert cases.part("[data-filter]").get_property("value") == command
