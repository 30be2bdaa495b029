from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

from tests.unit.report_tool.test_html import run


def test_each_chart_is_a_png_and_an_svg(write_run: Callable[..., Path]) -> None:
    folder = write_run()

    code, output = run("figures", str(folder))

    names = [f"{chart}.{suffix}" for chart in ("me-ppl", "me-ppl-rome", "me-ppl-ft") for suffix in ("png", "svg")]
    assert code == 0
    assert output.splitlines() == [f"reports/20310506-070809/figures/{name}" for name in names]
    for name in names:
        data = (folder / "figures" / name).read_bytes()
        if name.endswith("png"):
            assert data.startswith(b"\x89PNG\r\n\x1a\n")
        else:
            assert ElementTree.fromstring(data).tag.endswith("svg")


def test_one_format_goes_where_it_is_wanted(write_run: Callable[..., Path]) -> None:
    run("figures", str(write_run()), "--out", "paper", "--format", "svg")

    assert sorted(path.name for path in Path("paper").iterdir()) == ["me-ppl-ft.svg", "me-ppl-rome.svg", "me-ppl.svg"]


def test_an_unknown_format_is_a_usage_error(write_run: Callable[..., Path]) -> None:
    folder = write_run()

    code, output = run("figures", str(folder), "--format", "png,pdf")

    assert (code, output) == (2, "error: --format: 'pdf' is no format of figures; give png or svg\n")
    assert not (folder / "figures").exists()


def test_a_run_without_measurements_has_no_figures(write_run: Callable[..., Path]) -> None:
    folder = write_run()
    (folder / "records.jsonl").write_text("")

    code, output = run("figures", str(folder))

    assert (code, output) == (0, "Nothing was measured in this run that a chart could show.\n")
    assert not (folder / "figures").exists()


def test_a_place_that_is_a_file_is_an_error(write_run: Callable[..., Path]) -> None:
    folder = write_run()
    Path("paper").write_text("")

    code, output = run("figures", str(folder), "--out", "paper")

    assert code == 1
    assert "cannot write paper/me-ppl.png" in output
