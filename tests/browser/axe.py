"""What axe-core finds on a page, by the script in the wheel of `axe-core-python`."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from tests.browser.chromium import Browser

__all__ = ["findings"]

_RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice")
_ASK = """
  const [part, tags, done] = arguments;
  const options = { runOnly: tags, resultTypes: ["violations", "incomplete"] };
  // The rows of a table are alike, and contrast takes its time with each.
  const context = part ? { include: [part] } : { exclude: [".table tbody tr:nth-child(n+9)"] };
  axe.run(context, options).then(done, (error) => done({ error: String(error) }));
"""


@cache
def _script() -> str:
    return (files("axe_core_python") / "axe.min.js").read_text("utf-8")


def findings(browser: Browser, part: str | None = None) -> list[str]:
    """One line per rule that the page breaks, or may break.

    Contrast that cannot be told, as where a line of a chart runs behind a word, is left out; every other doubt is in.

    Args:
        browser: that shows the page.
        part: a CSS selector of the part to look at; None for all of it.
    """
    browser.run(_script())
    found: dict[str, Any] = browser.driver.execute_async_script(_ASK, part, list(_RULES))
    assert "error" not in found, found["error"]
    assert len(found["passes"]) > 5, "axe has looked at nearly nothing"
    doubts = [one for one in found["incomplete"] if one["id"] != "color-contrast"]
    return [f"{one['id']}: {one['help']}: {_places(one)}" for one in (*found["violations"], *doubts)]


def _places(finding: dict[str, Any]) -> list[str]:
    return [node["html"][:200] for node in finding["nodes"][:5]]
