"""Tables as a reader sees and uses them."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from selenium.webdriver.remote.webelement import WebElement

from tests.browser.chromium import Browser

__all__ = ["Table"]

_ROWS = """
  const rows = [...arguments[0].querySelectorAll("tbody tr")].filter((row) => row.getClientRects().length);
  return rows.map((row) => [...row.cells].map((cell) => cell.textContent.trim()));
"""
_HEADS = "return [...arguments[0].querySelectorAll('thead th')].map((head) => head.textContent.trim());"


@dataclass(frozen=True)
class Table:
    """One table of a page, by its id."""

    browser: Browser
    name: str

    @property
    def _box(self) -> WebElement:
        return self.browser.one(f'[data-table="{self.name}"]')

    def part(self, selector: str) -> WebElement:
        """One element within it."""
        return self._box.find_element("css selector", selector)

    @property
    def heads(self) -> list[str]:
        """The words of its headings."""
        return list(self.browser.run(_HEADS, self._box))

    @property
    def rows(self) -> list[list[str]]:
        """The texts of all rows that can be seen, in their order."""
        return list(self.browser.run(_ROWS, self._box))

    def column(self, head: str) -> list[str]:
        """The texts below one heading."""
        index = self.heads.index(head)
        return [row[index] for row in self.rows]

    def sorter(self, head: str) -> WebElement:
        """The button in a heading."""
        return self.part(f"thead th:nth-child({self.heads.index(head) + 1}) button")

    def direction(self, head: str) -> str | None:
        """How it says it is sorted by a heading."""
        return self.part(f"thead th:nth-child({self.heads.index(head) + 1})").get_attribute("aria-sort")

    @property
    def count(self) -> str:
        """What it says of the number of its rows."""
        return self.part("[data-count]").text

    def export(self) -> list[dict[str, str]]:
        """Its rows as a spreadsheet reads the file it gives."""
        self.part("[data-csv]").click()
        file = self.browser.downloads / f"{self.name}.csv"
        # Chromium keeps the name with an empty file until the download is whole.
        self.browser.until(lambda: file.exists() and file.stat().st_size, f"the download {file.name}")
        text = file.read_text("utf-8-sig")
        file.unlink()
        return list(csv.DictReader(io.StringIO(text, newline="")))
