"""The page for readers who see it badly, or not at all, or have no mouse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Keys

from tests.browser.axe import findings
from tests.browser.charts import draw, draw_all
from tests.browser.chromium import Browser

pytestmark = pytest.mark.browser

#: Notes every element that gets the focus, and whether it looks otherwise than before.
_WATCH = """
  document.body.tabIndex = -1;
  document.body.focus(); // the next Tab leads to the first link
  document.body.removeAttribute("tabindex");
  window.reached = [];
  const look = (one) => {
    const style = getComputedStyle(one);
    return [style.outlineStyle, style.outlineWidth, style.outlineColor, style.boxShadow].join();
  };
  const looks = new Map([...document.querySelectorAll("*")].map((one) => [one, look(one)]));
  document.addEventListener("focusin", ({ target }) => {
    const style = getComputedStyle(target);
    const box = target.getBoundingClientRect();
    const seen = box.width > 0 && box.height > 0 && box.right > 0 && box.left < innerWidth;
    const ringed = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
    window.reached.push([target, seen && ringed && look(target) !== looks.get(target)]);
  });
"""
_OPERABLE = """
  const all = document.querySelectorAll("a[href], button, select, input, summary, [tabindex='0']");
  const open = (one) => one.checkVisibility({ visibilityProperty: true }) && !one.disabled;
  const short = (one) => one.outerHTML.slice(0, 160);
  const reached = new Set(window.reached.map(([one]) => one));
  const operable = [...all].filter(open);
  return {
    count: operable.length,
    missed: operable.filter((one) => !reached.has(one)).map(short),
    unseen: window.reached.filter(([, shown]) => !shown).map(([one]) => short(one)),
    order: window.reached.slice(0, 4).map(([one]) => one.textContent.trim()),
  };
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_on_the_whole_page(browser: Browser, page: Path, dark: bool) -> None:
    browser.open(page, dark=dark)
    draw_all(browser)
    browser.one("#me-ppl .canvas summary").click()  # the menu of the chart
    browser.one('[data-table="case-table"] thead th:nth-child(5) button').click()

    assert findings(browser) == []


def test_axe_finds_nothing_on_narrow_sections_of_cases(browser: Browser, page: Path) -> None:
    browser.open(page, width=390)

    assert findings(browser, "#failing") == []


@pytest.mark.parametrize("verdict", ["collapsed", "error"])
def test_axe_finds_nothing_on_the_section_of_a_case(browser: Browser, page: Path, verdict: str) -> None:
    browser.open(page)
    browser.unfold_all()
    sections = browser.all(f".case:has(.mark.{verdict})")

    assert findings(browser, f"#{sections[-1].get_attribute('id')}") == []


def test_everything_operable_is_reached_by_tab_and_shows_it(browser: Browser, page: Path) -> None:
    browser.open(page)
    draw_all(browser)
    browser.unfold_all()
    browser.run(_WATCH)

    ActionChains(browser.driver).send_keys(Keys.TAB * 320).perform()

    told: dict[str, Any] = browser.run(_OPERABLE)
    assert told["count"] > 100
    assert told["missed"] == []
    assert told["unseen"] == []
    assert told["order"][:3] == ["Skip to the report", "theme: as the system", "Verdict"]


def test_the_first_link_skips_to_the_report(browser: Browser, page: Path) -> None:
    browser.open(page)

    ActionChains(browser.driver).send_keys(Keys.TAB, Keys.ENTER, Keys.TAB).perform()

    assert browser.run("return document.activeElement.closest('main') !== null")


def test_folded_parts_and_menus_open_by_keyboard(browser: Browser, page: Path) -> None:
    browser.open(page)
    draw(browser)

    for selector in ("#case-5", "#me-ppl .canvas details", "#me-ppl figcaption details"):
        part = browser.one(selector)
        assert part.get_attribute("open") is None
        part.find_element("css selector", "summary").send_keys(Keys.ENTER)
        assert part.get_attribute("open") is not None
