from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from collapse_tests.ci.escaping import code, command_data, command_property, markdown
from collapse_tests.ci.github import SUMMARY_BYTES, append_summary, step_summary, workflow_commands
from collapse_tests.errors import ErrorKind, InfrastructureError
from collapse_tests.records import Verdict
from collapse_tests.settings import Settings
from tests.unit.ci.outcomes import outcome, record, sequence

HOSTILE = "a|b`c` <script>x</script>\n@octocat *b* _c_ [d](e) \u202eftw &amp; #1 ~~s~~ $m$\r\\"


@pytest.mark.parametrize("escape", [markdown, code])
def test_hostile_text_stays_text(escape: object) -> None:
    assert callable(escape)
    inner = escape(HOSTILE).removeprefix("<code>").removesuffix("</code>")

    without_references = re.sub(r"&#\d+;", "", inner)
    assert not set(without_references) & set("|`<>@*_[]\n\r\u202e&#~$\\")


def test_text_is_shown_as_it_is() -> None:
    assert code("pytest --editor rome -k '[m-rome-hard:0001]'") == (
        "<code>pytest --editor rome -k '&#91;m-rome-hard&#58;0001&#93;'</code>"
    )
    assert markdown("Crème brûlée, 日本") == "Crème brûlée, 日本"
    assert len(markdown("x" * 10_000)) == 2_000
    assert markdown("x@y") == "x&#64;&#8203;y"


def test_commands_are_escaped() -> None:
    assert command_data("100%: a,\r\nb") == "100%25: a,%0D%0Ab"
    assert command_property("100%: a,\r\nb") == "100%25%3A a%2C%0D%0Ab"


def test_commands_of_a_run() -> None:
    lines = workflow_commands(outcome(record("hard:0000", request={"prompt": "Is Slate: 5%,\n::error::x"}), sequence()))

    assert [line.split(" ", 1)[0] for line in lines] == ["::error", "::error", "::notice"]
    assert all("\n" not in line and "\r" not in line for line in lines)
    first = re.fullmatch(r"::error title=([^:,]*)::(.*)", lines[0])
    assert first is not None
    assert first[1].startswith("hard%3A0000 collapsed%3A ME-PPL 200.00 → 9%2C000")
    assert first[2].split("%0A") == [
        "rome on m",
        "it is so",
        "rerun: pytest --editor rome --model m --edits hard -k '[m-rome-hard:0000]'",
    ]
    assert lines[1].endswith("%0Arerun: pytest --editor rome --model m --scenario hard")
    assert lines[2].startswith("::notice title=collapse gate::1 of 1 edit collapsed m under rome; ")


def test_no_more_errors_than_are_shown() -> None:
    lines = workflow_commands(outcome(*(record(f"hard:{index:04d}") for index in range(13))))

    assert sum(line.startswith("::error ") for line in lines) == 10
    assert lines[-1].endswith(" 3 more failed.")
    assert workflow_commands(outcome(record("hard:0000", Verdict.STABLE, 210.0))) == [
        "::notice title=collapse gate::None of 1 edit collapsed m under rome; worst ME-PPL 210.00 at hard:0000."
    ]


def test_a_file_of_the_user_is_pointed_at(tmp_path: Path) -> None:
    facts = tmp_path / "data" / "own facts.jsonl"
    facts.parent.mkdir()
    facts.write_text('{"prompt": "a"}\n\n{"prompt": "b"}\n')
    settings = Settings(("rome",), ("m",), (str(facts),))
    run = outcome(record("own_facts:0001"), settings=settings, environment={"GITHUB_WORKSPACE": str(tmp_path)})

    assert workflow_commands(run)[0].startswith("::error file=data/own facts.jsonl,line=3,title=own_facts%3A0001 ")


def test_a_summary() -> None:
    run = outcome(
        record("hard:0000", me_ppl=math.nan),
        record("hard:0001", Verdict.STABLE, 210.0),
        record("hard:0002", Verdict.ERROR, error="no | disk", error_kind=ErrorKind.INFRASTRUCTURE),
        sequence(),
        directory="reports/now",
        resumed=1,
        problem="the disk is <full>",
    )

    text = step_summary(run)
    lines = text.splitlines()

    assert lines[0] == "## Collapse gate"
    assert lines[2].startswith("**1 of 2 edits collapsed m under rome; worst ME-PPL nan at hard&#58;0000; 1 more ")
    assert "| <code>m</code> | <code>rome</code> | 3 | 1 | 1 | 0 | 1 | 200.00 | nan | nan |" in lines
    titles = [line for line in lines if line.startswith("### ")]
    assert titles == ["### Worst cases", "### Errors", "### Sequences"]
    (error,) = [line for line in lines if "no &#124; disk" in line]
    assert "| infrastructure |" in error
    rerun = "<code>pytest --editor rome --model m --edits hard -k '&#91;m-rome-hard&#58;0000&#93;'</code>"
    assert sum(rerun in line for line in lines) == 1
    assert "1 of 3 cases are of earlier runs.  " in lines
    assert "Report: <code>reports/now/records.jsonl</code>, <code>reports/now/sequences.jsonl</code>  " in lines
    assert "**Records are incomplete:** the disk is &#60;full&#62;" in lines


def test_every_row_has_the_columns_of_its_head() -> None:
    hostile = {"prompt": f"{HOSTILE} Slate", "target_new": "|" * 10_000}
    run = outcome(
        record("hard:0000", request=hostile, model="m|x", reasons=(HOSTILE,)),
        record("hard:0001", Verdict.ERROR, error=HOSTILE * 100, request=hostile),
        sequence(name="a|b", verdict=Verdict.ERROR, error=HOSTILE),
    )
    widths: list[set[int]] = []
    for line in step_summary(run).splitlines():
        if not line.startswith("|"):
            widths.append(set())
            continue
        widths[-1].add(line.count("|"))
    assert all(len(width) <= 1 for width in widths)
    assert sum(map(bool, widths)) == 4


def test_a_page_of_the_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "report.html").touch()
    text = step_summary(outcome(record("hard:0000"), directory=str(tmp_path)))
    assert text.rstrip().endswith("report.html</code>")


def test_a_summary_is_appended_and_cut(tmp_path: Path) -> None:
    file = tmp_path / "summary.md"
    append_summary(file, "first\n")
    append_summary(file, "second\n")
    assert file.read_text() == "first\nsecond\n"

    append_summary(file, f"{'é' * 100}\n" * 20_000)

    size = file.stat().st_size
    assert SUMMARY_BYTES - 300 < size <= SUMMARY_BYTES
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["first", "second"]
    assert lines[-1] == "The rest is left out, as a step summary takes no more."
    assert set(lines[2:-2]) == {"é" * 100}
    append_summary(file, "much more\n" * 100)
    assert size <= file.stat().st_size <= SUMMARY_BYTES


def test_a_summary_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match="step summary"):
        append_summary(tmp_path, "text\n")


def test_news_of_the_baseline() -> None:
    run = outcome(record("hard:0000"), news=("1 edit | newly collapsed", "  under rome"))
    assert "### Against the baseline\n\n- 1 edit &#124; newly collapsed\n- under rome\n" in step_summary(run)
