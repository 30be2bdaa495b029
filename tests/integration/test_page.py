"""The page of a run, from the command line to the file."""

from __future__ import annotations

import re

from fixtures.pytester_cases import GateProject


def test_a_run_ends_with_its_page(gate_project: GateProject) -> None:
    result = gate_project.run_apart("-o", "collapse_html=true", "-W", "error::DeprecationWarning")

    result.assert_outcomes(passed=3, failed=1)
    (folder,) = gate_project.run_directories()
    result.stdout.fnmatch_lines([f"Report: reports/{folder.name}/report.html"])
    result.stdout.no_fnmatch_line("Records: *")
    page = (folder / "report.html").read_text("utf-8")
    assert "1 of 4 edits collapsed tiny-gpt2 under rome" in page
    assert "vegaEmbed=" in page
    assert re.search(r"pytest --editor rome [^<]*tiny-gpt2-rome-facts:0002", page)


def test_without_a_page_the_records_are_named(gate_project: GateProject) -> None:
    result = gate_project.run("-o", "collapse_html=true", "--no-html")

    (folder,) = gate_project.run_directories()
    result.stdout.fnmatch_lines([f"Records: reports/{folder.name}/records.jsonl"])
    assert not (folder / "report.html").exists()
