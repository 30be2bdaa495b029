from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence

import pytest
from rich.cells import cell_len
from rich.console import Console

from collapse_tests.records import EditQuality, Record, Verdict
from collapse_tests.report.terminal import make_console, render

MakeRecord = Callable[..., Record]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.fixture
def run(make_record: MakeRecord) -> list[Record]:
    """Sixteen cases of every verdict."""
    return [
        make_record("hard:0001", Verdict.COLLAPSED, 66203.4),
        make_record("hard:0002", Verdict.COLLAPSED, math.inf),
        make_record("hard:0003", Verdict.COLLAPSED, math.nan),
        make_record("normal:0001", Verdict.INEFFECTIVE, 201.0),
        make_record("normal:0002", Verdict.ERROR, None, error="editor 'rome' left the model changed: w"),
        *(make_record(f"normal:{n:04}", Verdict.STABLE, 200.0 + n) for n in range(10, 21)),
    ]


def rendered(
    records: Sequence[Record],
    *,
    width: int = 100,
    encoding: str = "utf-8",
    colour: bool | None = None,
    verbose: bool = False,
    run_directory: str | None = "reports/20310506-070809",
) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    console = make_console(file, width=width, colour=colour)
    render(records, run_directory=run_directory, console=console, verbose=verbose)
    file.flush()
    return raw.getvalue().decode(encoding)


def line_with(text: str, report: str) -> str:
    (line,) = [line for line in report.splitlines() if text in line]
    return line


@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_report_stays_within_its_width(run: list[Record], width: int) -> None:
    assert max(cell_len(line) for line in rendered(run, width=width).splitlines()) == width


@pytest.mark.parametrize("width", [80, 120])
def test_report_shows_the_run(run: list[Record], width: int) -> None:
    report = rendered(run, width=width)
    flowing = " ".join(report.split())

    assert "collapse report" in report.splitlines()[0]
    assert "worst cases, 10 of 15, ME-PPL limit 1,000" in report
    assert (
        "3 of 15 edits collapsed smollm2-135m under rome; worst ME-PPL nan at hard:0003; 1 ineffective; "
        "1 more ended in an error." in flowing
    )
    assert line_with("Records:", report) == "Records: reports/20310506-070809/records.jsonl"
    assert "errors, 1 of 1" in report
    assert "editor 'rome' left the model changed: w" in line_with("normal:0002", report)
    case = line_with("hard:0001", report)
    assert re.fullmatch(r"hard:0001 +\S.*→ soup +66,203 +×331 +0\.0831 +0\.412 +collapsed *", case)
    assert re.search(r" inf +inf +0\.0831 .*collapsed", line_with("hard:0002", report))


def test_wide_report_has_one_row_per_group(run: list[Record]) -> None:
    report = rendered(run, width=120)

    (row,) = [" ".join(line.split()) for line in report.splitlines() if line.startswith("smollm2-135m")]
    assert row == "smollm2-135m rome 16 11 3 1 1 200.00 216.00 nan 93% 100% 73% 5.00"


def test_narrow_report_splits_verdicts_from_measurements(run: list[Record]) -> None:
    report = rendered(run, width=80)

    rows = [" ".join(line.split()) for line in report.splitlines() if line.startswith("smollm2-135m")]
    assert rows == [
        "smollm2-135m rome 16 11 3 1 1",
        "smollm2-135m rome 200.00 216.00 nan 93% 100% 73% 5.00",
    ]


def test_worst_cases_come_worst_first(run: list[Record]) -> None:
    report = rendered(run)

    places = [report.index(f"\n{name}") for name in ("hard:0003", "hard:0002", "hard:0001", "normal:0020")]
    assert places == sorted(places)


def test_empty_run_says_so() -> None:
    lines = rendered([], run_directory=None).splitlines()

    assert lines[1:] == ["", "No edits were tested."]


def test_run_of_errors_alone_shows_what_went_wrong(make_record: MakeRecord) -> None:
    report = rendered([make_record("1", Verdict.ERROR, None, unedited=None, seconds={}, error="it broke")])

    assert "it broke" in report
    assert "worst cases" not in report
    assert "Nothing was learnt of smollm2-135m under rome" in report


@pytest.mark.parametrize("verdict", [Verdict.STABLE, Verdict.COLLAPSED, Verdict.INEFFECTIVE])
def test_unmeasured_values_show_as_a_dash(make_record: MakeRecord, verdict: Verdict) -> None:
    report = rendered([make_record("id-1", verdict, None, quality=None, diagnostics={}, seconds={})])

    assert line_with("id-1", report).split()[-5:] == ["–", "–", "–", "–", verdict.value]
    measures = [line for line in report.splitlines() if line.startswith("smollm2")][-1]
    assert measures.split()[-6:] == ["–"] * 6


def test_rate_of_fewer_cases_shows_how_many(make_record: MakeRecord) -> None:
    partial = EditQuality(True, True, None, True, 0.5, 0.1, None)
    records = [
        make_record("1", Verdict.STABLE, 210.0),
        make_record("2", Verdict.STABLE, 210.0, quality=partial),
    ]

    row = next(line for line in rendered(records, width=160).splitlines() if line.startswith("smollm2"))

    assert row.split()[-4:] == ["100%", "1/1", "100%", "5.00"]


@pytest.mark.parametrize(
    "text",
    ["[bold]x[/bold]", "[/red]", "[link=http:a]x", ":smile:", "\\[x]", "{x}", "[not closed", "a [b] c]"],
)
def test_markup_in_user_text_shows_verbatim(make_record: MakeRecord, text: str) -> None:
    request = {"prompt": text, "subject": "x", "target_new": text}
    records = [
        make_record(f"1{text}", Verdict.STABLE, 210.0, request=request, model=text, editor=text),
        make_record(f"2{text}", Verdict.ERROR, None, error=text, model=text, editor=text),
    ]

    report = rendered(records, width=200, colour=True, run_directory=text)

    plain = re.sub(r"\x1b\[[0-9;]*m", "", report)
    assert f"{text} → {text}" in plain
    assert f"1{text}" in plain
    assert line_with(f"2{text}", plain).rstrip().endswith(text)
    assert line_with(" under ", plain).startswith(f"None of 1 edit collapsed {text} under {text};")
    assert f"Records: {text}/records.jsonl" in plain


def test_markup_shows_verbatim_on_a_console_that_reads_markup(make_record: MakeRecord) -> None:
    text = "[bold]x[/bold] :smile:"
    request = {"prompt": text, "subject": "x", "target_new": text}
    records = [
        make_record(f"1{text}", Verdict.STABLE, 210.0, request=request, model=text, editor=text),
        make_record("2", Verdict.ERROR, None, error=text, seconds={text: 1.0}),
    ]
    console = Console(file=io.StringIO(), width=200, markup=True, emoji=True)

    with console.capture() as capture:
        render(records, run_directory=text, console=console, verbose=True)

    report = capture.get()
    assert f"{text} → {text}" in report
    assert f"Seconds per edit of {text} under {text}" in report
    assert f"Records: {text}/records.jsonl" in report
    assert "smollm2-135m-rome-2" in report
    assert report.count("[bold]") == report.count("[/bold]") >= 10


def test_control_characters_in_user_text_reach_no_terminal(make_record: MakeRecord) -> None:
    hostile = "a\x1b]0;title\x07\r\nb\x9b2J\u202e\ud800\u2028\t\x00"
    request = {"prompt": hostile, "subject": "a", "target_new": hostile}
    records = [
        make_record(hostile, Verdict.COLLAPSED, 1e4, request=request, model=hostile, editor=hostile),
        make_record("2", Verdict.ERROR, None, error=hostile, seconds={hostile: 1.0}),
    ]

    report = rendered(records, width=400, run_directory=hostile, verbose=True)

    assert all(char.isprintable() or char == "\n" for char in report)
    assert r"a\x1b]0;title\x07\r\nb\x9b2J\u202e\ud800\u2028\t\x00" in report


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_other_encodings_get_ascii_signs_only(run: list[Record], width: int, encoding: str) -> None:
    run[0] = Record.from_dict({**run[0].to_dict(), "request": {"prompt": "東京 is → x" * 9, "target_new": "東"}})

    run.append(Record.from_dict({**run[0].to_dict(), "model": "東京", "editor": "東"}))

    report = rendered(run, width=width, encoding=encoding, verbose=True, run_directory="東")

    assert report.isascii()
    assert "|" not in report
    assert rendered(run[-1:], width=width, encoding=encoding).isascii()


@pytest.mark.parametrize("colour", [None, False])
def test_no_control_codes_outside_a_terminal(run: list[Record], colour: bool | None) -> None:
    assert "\x1b" not in rendered(run, colour=colour)


def test_colours_follow_the_verdicts_and_are_no_more_than_decoration(run: list[Record]) -> None:
    painted = rendered(run, colour=True)

    assert re.search(r"\x1b\[31m *collapsed", painted)
    assert re.search(r"\x1b\[33m *ineffective", rendered(run, colour=True, verbose=True))
    assert re.search(r"\x1b\[32m *stable", painted)
    assert re.search(r"\x1b\[1;35m *errors", painted)
    codes = {code for codes in re.findall(r"\x1b\[([0-9;]*)m", painted) for code in codes.split(";")}
    assert codes <= {"0", "1", "31", "32", "33", "35"}
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == rendered(run)


def test_zero_counts_are_not_painted(make_record: MakeRecord) -> None:
    painted = rendered([make_record("1", Verdict.STABLE, 210.0)], colour=True)

    assert not re.search(r"\x1b\[3[135]m", painted)


def test_narrow_console_keeps_numbers_whole_and_names_visible(run: list[Record]) -> None:
    report = rendered(run, width=30)

    assert "66,203" in report
    assert "ineffective" in report
    assert re.search(r"^hard", report, flags=re.MULTILINE)
    assert re.search(r"^smol", report, flags=re.MULTILINE)


@pytest.mark.parametrize("width", [80, 120])
def test_long_names_are_shortened_in_the_middle(make_record: MakeRecord, width: int) -> None:
    model = "/models/" + "deep/" * 40 + "llama"
    records = [make_record("hard:0001" * 9 + "!", Verdict.COLLAPSED, 1e4, model=model)]

    tables = rendered(records, width=width, run_directory=None).split("1 of 1 edit")[0]

    assert max(cell_len(line) for line in tables.splitlines()) <= width
    assert re.search(r"^/mod\S*…\S*lama ", tables, flags=re.MULTILINE)
    assert re.search(r"^hard\S*…\S*1! ", tables, flags=re.MULTILINE)


def test_cases_are_named_by_what_differs(make_record: MakeRecord) -> None:
    base = make_record("id1", Verdict.STABLE, 210.0)
    editors = [base, make_record("id1", Verdict.STABLE, 210.0, editor="ft")]
    models = [base, make_record("id1", Verdict.STABLE, 210.0, model="gpt2-xl")]

    def names(records: list[Record]) -> set[str]:
        worst = rendered(records, width=160).split("worst cases")[1]
        return {line.split()[0] for line in worst.splitlines() if line.rstrip().endswith("stable")}

    assert names([base]) == {"id1"}
    assert names(editors) == {"rome-id1", "ft-id1"}
    assert names(models) == {"smollm2-135m-rome-id1", "gpt2-xl-rome-id1"}


def test_verbose_lists_all_cases_and_the_time_of_each_stage(run: list[Record]) -> None:
    report = rendered(run, verbose=True)

    assert "worst cases, 15 of 15" in report
    assert "Seconds per edit of smollm2-135m under rome: edit 4.00, perplexity 0.750, quality 0.250" in report


def test_differing_limits_are_not_summed_up_in_one(make_record: MakeRecord) -> None:
    records = [
        make_record("1", Verdict.STABLE, 210.0),
        make_record("2", Verdict.STABLE, 210.0, ppl_limit=500.0),
    ]

    assert "ME-PPL limit" not in rendered(records)
