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


def test_several_runs_have_the_charts_of_their_comparison(write_run: Callable[..., Path]) -> None:
    folders = [write_run(name) for name in ("one", "two")]
    for folder in folders:
        (folder / "environment.json").write_text('{"settings": {}}')
    runs = list(map(str, folders))

    code, output = run("figures", *runs, "--out", "paper", "--format", "svg")
    without, told = run("figures", *runs)

    assert code == 0
    assert output.splitlines()[-2:] == ["paper/pairs-1.svg", "paper/pairs-2.svg"]
    assert ElementTree.parse("paper/pairs-1.svg").getroot().tag.endswith("svg")
    assert (without, "say where to write them with --out DIR" in told) == (2, True)


def test_an_unknown_format_is_a_usage_error(write_run: Callable[..., Path]) -> None:
    folder = write_run()

    code, output = run("figures", str(folder), "--format", "png,pdf")

    assert (code, output) == (2, "error: --format: 'pdf' is no format of figures; give png or svg\n")
    assert not (folder / "figures").exists()


def test_a_run_without_measurements_has_no_figures(write_run: Callable[..., Path]) -> None:
    folder = write_run()
    (folder / "records.jsonl").write_text("")

    code, output = run("figures", str(folder))

    assert (code, output) == (0, "Nothing was measured that a chart could show.\n")
    assert not (folder / "figures").exists()


def test_a_place_that_is_a_file_is_an_error(write_run: Callable[..., Path]) -> None:
    folder = write_run()
    Path("paper").write_text("")

    code, output = run("figures", str(folder), "--out", "paper")

    assert code == 1
    assert "cannot write paper/me-ppl.png" in output
