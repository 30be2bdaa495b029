"""Charts as the browser drew them."""

from __future__ import annotations

from collections import Counter
from functools import partial

from selenium.webdriver.remote.webelement import WebElement

from tests.browser.chromium import Browser

__all__ = ["POINTS", "draw", "draw_all", "label_colours", "marks", "point_of", "points", "tooltip"]

#: The edits in the chart of ME-PPL.
POINTS = "#me-ppl .mark-symbol.role-mark path"

_MARKS = """
  const counts = {};
  for (const group of arguments[0].querySelectorAll(".role-mark:not(.brush_brush):not(.brush_brush_bg)")) {
    const kind = group.classList[0].replace("mark-", "");
    for (const one of group.children) {
      if (/NaN|Infinity|undefined/.test(one.outerHTML)) return { broken: one.outerHTML };
      counts[kind] = (counts[kind] ?? 0) + 1;
    }
  }
  return counts;
"""
_FIND = """
  const [all, words] = arguments;
  return [...document.querySelectorAll(all)].find(({ __data__: { datum } }) => datum.case.includes(words));
"""
_COLOURS = """
  const labels = document.querySelectorAll(".canvas svg .role-axis-label text");
  return [...new Set([...labels].map((one) => getComputedStyle(one).fill))];
"""


def draw(browser: Browser, chart: str = "me-ppl") -> None:
    """Scroll to one chart, which makes the page draw it, and wait until it has."""
    browser.show(f"#{chart} .canvas")
    browser.until(partial(browser.all, f'#{chart} svg.marks[aria-hidden="true"]'), f"the chart {chart}")


def draw_all(browser: Browser) -> list[str]:
    """Go down the page until every chart is drawn; their ids, from the top."""
    names = [str(place.get_attribute("data-chart")) for place in browser.all("[data-chart]")]
    for name in names:
        draw(browser, name)
    return names


def marks(browser: Browser, chart: str) -> Counter[str]:
    """How many marks of each kind a chart has; axes, legends and the brush are none."""
    return Counter(browser.run(_MARKS, browser.one(f"#{chart}")))


def points(browser: Browser) -> int:
    """How many edits the chart of ME-PPL shows."""
    return marks(browser, "me-ppl")["symbol"]


def point_of(browser: Browser, words: str) -> WebElement:
    """The point of the first edit that has these words in its case's name."""
    found: WebElement = browser.run(_FIND, POINTS, words)
    return found


def tooltip(browser: Browser, words: str) -> WebElement | None:
    """The tooltip, if one is there that has these words in it."""
    return next((tip for tip in browser.all("#vg-tooltip-element.visible") if words in tip.text), None)


def label_colours(browser: Browser) -> set[str]:
    """The colours of all labels on axes."""
    return set(browser.run(_COLOURS))
