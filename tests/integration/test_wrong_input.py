"""Wrong input ends the run early, in one clear line."""

from __future__ import annotations

import pytest

from fixtures.pytester_cases import FACTS, GateProject

INCOMPLETE = {"prompt": "Rome is a city in", "subject": "Rome"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"editor": "rom"}, "ERROR: --editor 'rom' is not known: did you mean 'rome'?*"),
        ({"editor": "nowhere:edit"}, "ERROR: --editor 'nowhere:edit': there is no module 'nowhere'*PYTHONPATH*"),
        ({"model": "gpt2-x"}, "ERROR: --model 'gpt2-x' is not known: did you mean 'gpt2-xl'?*"),
        ({"edits": "fact.jsonl"}, "ERROR: --edits 'fact.jsonl' is no file; did you mean *facts.jsonl*"),
        ({"edits": "broken.jsonl"}, "ERROR: --edits 'broken.jsonl', line 2: *target_new*"),
        ({"texts": "no.json"}, "ERROR: --ppl-texts 'no.json' is no file*"),
        ({"limit": "many"}, "*argument --ppl-limit: 'many' is no positive finite number; give *"),
    ],
    ids=["editor", "module", "model", "edits", "record", "texts", "limit"],
)
def test_usage_errors(gate_project: GateProject, options: dict[str, str], message: str) -> None:
    gate_project.write_facts([FACTS[0], INCOMPLETE], "broken.jsonl")

    refuse(gate_project.run(**options), message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "gpu"], "*argument --device: 'gpu' is no device; give *"),
        (["--edits-limit", "0"], "*argument --edits-limit: '0' is no positive whole number*"),
        (["--dtype", "int8"], "*argument --dtype: 'int8' is no dtype; give one of *"),
        (["--set", "steps=3"], "*argument --set: 'steps=3' is not of the form EDITOR.FIELD=VALUE*"),
        (["--reports-dir", "facts.jsonl"], "ERROR: --reports-dir 'facts.jsonl' is a file; *"),
        (["--set", "rome.v_lr=1"], "ERROR: --set rome.v_lr: rome has no such field; it has *learning_rate*"),
        (["--set", "rome.steps=none"], "ERROR: --set rome.steps=none: *integer*"),
        (["--editor-config", "no.yaml"], "ERROR: --editor-config no.yaml: there is no such file; *"),
    ],
)
def test_usage_errors_of_single_options(gate_project: GateProject, words: list[str], message: str) -> None:
    refuse(gate_project.run(*words), message)


def refuse(result: pytest.RunResult, message: str) -> None:
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    text = result.stdout.str() + result.stderr.str()
    assert "Traceback" not in text
    assert "INTERNALERROR" not in text
    said = [line for line in result.errlines if line.startswith(("ERROR: --", "pytest: error:")) or ": error:" in line]
    assert len(said) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "cuda:99"], "error: --device cuda:99: this machine has * usable CUDA devices; use cpu or auto"),
    ],
)
def test_what_shows_only_with_the_model_fails_once(gate_project: GateProject, words: list[str], message: str) -> None:
    result = gate_project.run(*words)

    fails_once(gate_project, result, message)


def test_a_model_that_is_broken_before_any_edit_fails_once(gate_project: GateProject) -> None:
    result = gate_project.run(limit="100")

    fails_once(gate_project, result, "error: the unedited model 'tiny-gpt2' has ME-PPL 384.45, which is not below*100*")


def test_an_attribute_that_is_missing_fails_once(gate_project: GateProject) -> None:
    result = gate_project.run(editor="my_editors:absent")

    fails_once(gate_project, result, "error: --editor 'my_editors:absent': module 'my_editors' has no attribute*")


def test_a_checkpoint_that_is_damaged_fails_once(gate_project: GateProject) -> None:
    broken = gate_project.pytester.mkdir("broken")
    for file in (gate_project.path / "tiny-gpt2").iterdir():
        (broken / file.name).write_bytes(b"x" if file.suffix == ".safetensors" else file.read_bytes())

    fails_once(gate_project, gate_project.run(model="broken"), "error: model 'broken' could not be loaded*")


def fails_once(project: GateProject, result: pytest.RunResult, message: str) -> None:
    result.assert_outcomes(failed=1, skipped=3)
    result.stdout.fnmatch_lines([message])
    assert "Traceback" not in result.stdout.str()
    assert result.stdout.str().count("rerun: ") == 1
    assert {record["verdict"] for record in project.records()} == {"error"}


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_is_shown_whatever_else_is_wrong(gate_project: GateProject, option: str) -> None:
    result = gate_project.run(option, editor="bad")

    assert result.ret == pytest.ExitCode.OK
    assert "is not known" not in result.stderr.str()
    if option == "--help":
        result.stdout.fnmatch_lines(["collapse:", "*--editor=NAME*", "*--ppl-limit=X*"])
