"""Editors of the project under test, given as module:attribute, each bad in its own way."""

from __future__ import annotations

import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fixtures.pytester_cases import FACTS, GateProject

PATIENCE_S = 60.0


@pytest.mark.parametrize(("editor", "shown"), [("overflows", "inf"), ("breaks_numbers", "nan")])
def test_no_finite_number_is_a_collapse(gate_project: GateProject, editor: str, shown: str) -> None:
    result = gate_project.run("--edits-limit", "2", editor=f"my_editors:{editor}")

    result.assert_outcomes(failed=2)
    for record in gate_project.records():
        assert record["verdict"] == "collapsed"
        assert record["edited"]["me_ppl"] == shown
        assert record["continuation_before"]
    result.stdout.fnmatch_lines([f"collapsed: ME-PPL is {shown}: not a finite number"])
    assert "Traceback" not in result.stdout.str()


def test_an_editor_that_raises_fails_its_own_case_only(gate_project: GateProject) -> None:
    result = gate_project.run("--fail-ineffective", editor="rome,my_editors:raises_once")

    verdicts = {record["case_id"]: record for record in gate_project.records()}
    assert len(verdicts) == 8
    broken = [case_id for case_id, record in verdicts.items() if record["verdict"] == "error"]
    assert broken == ["tiny-gpt2-raises_once-facts:0001"]
    result.stdout.fnmatch_lines(["error: my_editors:raises_once raised RuntimeError: no Rome today"])
    output = result.stdout.str().replace("raised RuntimeError", "")
    assert "Traceback" not in output
    assert "raise RuntimeError" not in output


def test_an_edit_that_does_not_take_passes(gate_project: GateProject) -> None:
    gate_project.write_facts(FACTS[3:])

    result = gate_project.run(editor="my_editors:nothing")

    result.assert_outcomes(passed=1)
    assert gate_project.verdicts() == {"facts:0000": "ineffective"}
    (record,) = gate_project.records()
    assert record["edited"] == record["unedited"]


def test_an_edit_that_does_not_take_fails_on_request(gate_project: GateProject) -> None:
    gate_project.write_facts(FACTS[3:])

    result = gate_project.run("--fail-ineffective", editor="my_editors:nothing")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["ineffective: *", "rerun: pytest *--fail-ineffective*"])


def test_a_model_left_changed_is_named_and_not_used_again(gate_project: GateProject) -> None:
    result = gate_project.run("--batch-size", "1", editor="my_editors:Careless")

    records = gate_project.records()
    assert [record["verdict"] == "error" for record in records] == [False, True, False, False]
    assert "left the model changed: transformer.h.0." in records[1]["error"]
    assert "c_proj.weight" in records[1]["error"]
    result.stdout.fnmatch_lines(["error: editor 'careless' left the model changed: *c_proj.weight*"])
    sound = [records[index] for index in (0, 2, 3)]
    # The same update every time, so that a copy that is not fresh would show in the numbers.
    assert len({record["edited"]["me_ppl"] for record in sound}) == 1
    assert len({record["model_digest"] for record in records}) == 1


LEFTOVERS = """
import torch


@torch.no_grad()
def hooks_once(model, tokenizer, request):
    model.transformer.ln_f.bias.add_(0.001)
    if request.subject == "Rome":
        model.transformer.ln_f.register_forward_hook(lambda layer, inputs, output: 2 * output)


def trains(model, tokenizer, request):
    model.train()
    weight = model.transformer.h[1].mlp.c_proj.weight.requires_grad_(True)
    model(torch.tensor([tokenizer.encode(request.prompt)])).logits.sum().backward()
    with torch.no_grad():
        weight.mul_(1e38)


def fancy(model, tokenizer, request, config):
    with torch.no_grad():
        model.transformer.ln_f.bias.add_(config["shift"])
"""


@pytest.fixture
def leftovers(gate_project: GateProject) -> GateProject:
    """A project with in-place editors that leave things behind, or take options."""
    (gate_project.path / "leftovers.py").write_text(LEFTOVERS)
    return gate_project


def test_an_edit_that_is_not_all_in_the_weights_is_an_error_of_its_case_only(leftovers: GateProject) -> None:
    result = leftovers.run(editor="leftovers:hooks_once")

    records = leftovers.records()
    assert [record["verdict"] == "error" for record in records] == [False, True, False, False]
    assert records[1]["error"] == (
        "leftovers:hooks_once left a forward hook on transformer.ln_f, so the weights are not the whole edit: "
        "remove hooks before returning (`handle.remove()`)"
    )
    result.stdout.fnmatch_lines(["error: leftovers:hooks_once left a forward hook on transformer.ln_f, so *"])
    # The same edit every time, so that a hook that stayed would show in the numbers.
    assert len({records[index]["edited"]["me_ppl"] for index in (0, 2, 3)}) == 1


def test_what_is_harmless_is_undone_and_noted(leftovers: GateProject) -> None:
    result = leftovers.run("--edits-limit", "2", editor="leftovers:trains")

    for record in leftovers.records():
        assert record["verdict"] == "collapsed"
        *left, drew = record["notes"]
        assert len(left) == 3
        assert all(note.startswith("the editor left ") for note in left)
        assert drew == "the editor drew from the random state of torch, which was undone"  # by dropout
    result.stdout.fnmatch_lines(["  note *the editor left the model in training mode, which was undone"])


def test_options_from_a_file_reach_the_editor_and_the_command_that_repeats_the_run(leftovers: GateProject) -> None:
    (leftovers.path / "fancy.yaml").write_text("shift: 1e6\nname: 'it is'\n")
    editor = "leftovers:fancy"

    result = leftovers.run("--editor-config", "fancy.yaml", "--edits-limit", "1", "--ppl-limit", "400", editor=editor)

    result.assert_outcomes(failed=1)
    (record,) = leftovers.records()
    assert record["diagnostics"]["update_norm"] == pytest.approx(1e6 * 32**0.5, rel=1e-4)
    (line,) = [line for line in result.outlines if line.startswith("rerun: pytest ")]
    (leftovers.path / "fancy.yaml").unlink()
    leftovers.pytester.runpytest_inprocess(*shlex.split(line)[2:]).assert_outcomes(failed=1)
    assert leftovers.records()[0]["edited"] == record["edited"]


@pytest.mark.parametrize(
    ("editor", "message"),
    [
        ("leftovers:fancy", "ERROR: --editor-config other.yaml: no editor 'rome' in this run; it has leftovers:fancy"),
        ("leftovers:trains", "ERROR: --editor-config fancy.yaml: leftovers:trains.shift: leftovers:trains has no *"),
    ],
)
def test_options_that_cannot_be_end_the_run_at_once(leftovers: GateProject, editor: str, message: str) -> None:
    (leftovers.path / "fancy.yaml").write_text("shift: 1\n")
    (leftovers.path / "other.yaml").write_text("shift: 1\n")
    words = ["--editor-config", "rome=other.yaml"] if "other" in message else ["--editor-config", "fancy.yaml"]

    result = leftovers.run(*words, editor=editor)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert not leftovers.run_directories()


def test_an_interrupt_keeps_the_records_so_far(gate_project: GateProject) -> None:
    process = gate_project.start("--batch-size", "1", editor="my_editors:sleeps_late")
    try:
        wait_for_records(gate_project, 2)
        time.sleep(0.5)  # into the third edit, where it sleeps
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()

    assert process.returncode == pytest.ExitCode.INTERRUPTED, errors
    assert [record["edit_id"] for record in gate_project.records()] == ["facts:0000", "facts:0001"]
    assert "collapse report" in output
    assert "facts:0001" in output
    assert "KeyboardInterrupt" in output


def wait_for_records(project: GateProject, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if project.run_directories() and len(project.records()) >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"no {count} records in {PATIENCE_S:g} s")


@pytest.mark.parametrize("ci", [False, True])
def test_a_terminal_gets_a_live_line_unless_under_ci(
    gate_project: GateProject, monkeypatch: pytest.MonkeyPatch, ci: bool
) -> None:
    if ci:
        monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("TERM", "xterm")

    output = output_on_a_terminal(gate_project.path, gate_project.words("--edits-limit", "1"))

    assert "collapse report" in output
    assert "\x1b[" in output
    assert ("measuring perplexity of 1 edits" in output) is not ci


def output_on_a_terminal(directory: Path, words: list[str]) -> str:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", *words], cwd=directory, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        chunks = []
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # Linux's way to say that the other end is closed
                break
            if not chunk:
                break
            chunks.append(chunk)
        process.wait(PATIENCE_S)
    os.close(ours)
    return b"".join(chunks).decode()
