"""Small subject repositories."""

from __future__ import annotations

from typing import Any

from collapse_tests.hard_edits.subjects import SubjectRepository

SMALL = """
categories:
  - name: countries
    relations:
      capital: {prompt: "{} has a capital called", rephrase: "The government of {} sits in"}
      currency: {prompt: "{} pays its workers in the", rephrase: "The money of {} is the"}
    subjects:
      Norway: {capital: Oslo, currency: krone}
      Sweden: {capital: Stockholm, currency: krona}
      Japan: {capital: Tokyo, currency: yen}
      Poland: {capital: Warsaw, currency: zloty}
      Panama: {capital: panama, currency: dollar}
  - name: metals
    relations:
      symbol: {prompt: "{} has the symbol", rephrase: "Chemists write {} as"}
      colour: {prompt: "{} has a surface that looks", rephrase: "A bar of {} looks"}
    subjects:
      Gold: {symbol: Au, colour: yellow}
      Silver: {symbol: Ag, colour: grey}
      Copper: {symbol: Cu, colour: red}
      Iron: {symbol: Fe}
  - name: days
    relations:
      next: {prompt: "{} is followed by", rephrase: "The day after {} is"}
    subjects:
      Monday: {next: Tuesday}
      Friday: {next: Saturday}
"""


def document() -> dict[str, Any]:
    """One category as plain data, to be spoilt."""
    return {
        "categories": [
            {
                "name": "metals",
                "relations": {"symbol": {"prompt": "{} has the symbol", "rephrase": "Chemists write {} as"}},
                "subjects": {"Gold": {"symbol": "Au"}, "Iron": {"symbol": "Fe"}},
            }
        ]
    }


def repository() -> SubjectRepository:
    """`SMALL`, parsed."""
    from collapse_tests.hard_edits.subject_files import parse_subjects

    return parse_subjects(SMALL, "small")
