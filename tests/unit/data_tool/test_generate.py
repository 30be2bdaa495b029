"""`collapse-data generate` as it is typed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from collapse_tests.cache import CACHE_VARIABLE
from collapse_tests.data_tool.main import app
from collapse_tests.datasets.requests import load_requests
from tests.unit.hard_edits.chat_server import Reply, completion, failure, serving
from tests.unit.hard_edits.repositories import SMALL
from tests.unit.hard_edits.test_endpoint_writer import sample, subject_of


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(SMALL, encoding="utf-8")


def generate(*arguments: str, subjects: str = "small.yaml") -> tuple[int, str]:
    done = CliRunner().invoke(app, ["generate", "--out", "out.jsonl", "--subjects", subjects, *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, " ".join(done.output.split())


def records() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("out.jsonl").read_text(encoding="utf-8").splitlines()]


def test_help_imports_no_framework() -> None:
    code = (
        "import sys\n"
        "from collapse_tests.data_tool.main import app\n"
        "app(['generate', '--help'], standalone_mode=False)\n"
        "print(sorted({'torch', 'transformers', 'openai'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--writer-url" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_templates_need_no_framework() -> None:
    code = (
        "import sys\n"
        "from collapse_tests.data_tool.main import app\n"
        "app(['generate', '--out', 'out.jsonl', '--subjects', 'small.yaml'], standalone_mode=False)\n"
        "print(sorted({'torch', 'transformers', 'openai'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert len(records()) == 19


def test_requests_are_written_and_counted() -> None:
    code, output = generate("--seed", "3", "--limit", "9", "--per-subject", "1")
    assert code == 0, output
    assert "countries 5 10 4 4" in output
    assert "all 3 11 19 9 9" in output
    assert "8 beyond --per-subject 2 beyond --limit" in output
    assert "9 requests are in out.jsonl" in output
    assert [named.request.prompt for named in load_requests("out.jsonl")] == [one["prompt"] for one in records()]
    assert {one["category"] for one in records()} == {"countries", "metals", "days"}
    assert {one["relation"] for one in records()} <= {"capital", "currency", "symbol", "colour", "next"}


def test_what_was_generated_before_can_be_excluded() -> None:
    generate("--limit", "5")
    first = [one["prompt"] for one in records()]
    Path("out.jsonl").rename("first.jsonl")
    code, output = generate("--exclude", "first.jsonl", "--exclude", "hard")
    assert code == 0, output
    assert "5 same subject and prompt as in a file of --exclude" in output
    assert len(records()) == 14
    assert not {one["prompt"] for one in records()} & set(first)


def test_subjects_of_one_token(saved_tiny_model: Callable[[str], Path]) -> None:
    text = SMALL.replace("Norway:", "Rome:").replace("Sweden:", "Paris:")  # with Norway the only such words
    Path("own.yaml").write_text(text.replace("Japan:", "Norway:"), encoding="utf-8")
    code, output = generate("--single-token", "--model", str(saved_tiny_model("gpt2")), subjects="own.yaml")
    assert code == 0, output
    assert {one["subject"] for one in records()} == {"Rome", "Paris", "Norway"}
    assert "13 subject is not one token of the tokenizer" in output


def test_nothing_left_is_an_error_and_writes_nothing() -> None:
    generate()
    Path("out.jsonl").rename("all.jsonl")
    Path("out.jsonl").write_text("old", encoding="utf-8")
    code, output = generate("--exclude", "all.jsonl")
    assert code == 2
    assert "19 same subject and prompt" in output
    assert "error: no request is left" in output
    assert Path("out.jsonl").read_text(encoding="utf-8") == "old"


def test_a_service_writes() -> None:
    with serving(lambda text, before: completion(sample(text))) as server:
        code, output = generate("--writer-model", "big", "--writer-url", server.url, "--limit", "3")
    assert code == 0, output
    assert "3 requests are in out.jsonl" in output
    assert {one["relation"] for one in records()} == {"written"}
    assert [named.request.target_new for named in load_requests("out.jsonl")] == ["boat"] * 3


def test_answers_that_do_not_fit_are_reported() -> None:
    def rule(text: str, before: int) -> Reply:
        return completion("Hello." if subject_of(text) == "Gold" else sample(text))

    with serving(rule) as server:
        code, output = generate("--writer-model", "big", "--writer-url", server.url)
    assert code == 0, output
    assert "3 answer is not one JSON object" in output
    assert "No fitting answer in 3 attempts for 1 sample: Gold" in output
    assert len(records()) == 10


def test_a_service_that_fails_costs_nothing_of_what_it_wrote() -> None:
    with serving(lambda text, before: completion(sample(text)) if before < 8 else failure(401)) as server:
        code, output = generate("--writer-model", "big", "--writer-url", server.url)
    assert code == 2
    assert "the 8 requests written so far are in out.jsonl" in output
    assert f"error: --writer-url {server.url} answered 401" in output
    assert len(load_requests("out.jsonl")) == 8


def test_a_local_model_writes_nonsense_that_is_counted(saved_tiny_model: Callable[[str], Path]) -> None:
    code, output = generate("--writer-model", str(saved_tiny_model("llama")))
    assert code == 2
    assert "33 answer is not one JSON object" in output
    assert "No fitting answer in 3 attempts for 11 samples" in output
    assert not Path("out.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--limit", "0"], "--limit: '0' is no positive whole number"),
        (["--per-subject", "x"], "--per-subject: 'x' is no positive whole number"),
        (["--seed", "-1"], "--seed: '-1' is no seed"),
        (["--out", "out.txt"], "--out 'out.txt'"),
        (["--out", " "], "--out: ' ' is empty"),
        (["--subjects", "none.yaml"], "--subjects 'none.yaml' is no file"),
        (["--exclude", "none.jsonl"], "--exclude 'none.jsonl' is no file"),
        (["--model", "smollm2-135m"], "no use without --single-token"),
        (["--model", "no-such", "--single-token"], "--model 'no-such' is not known"),
        (["--writer-url", "http://127.0.0.1:1"], "add --writer-model"),
        (["--writer-url", "nonsense", "--writer-model", "x"], "--writer-url 'nonsense' is no address"),
        (["--writer-model", "no-such"], "--writer-model 'no-such' is not known"),
    ],
)
def test_wrong_input_is_refused(arguments: list[str], message: str) -> None:
    code, output = generate(*arguments)
    assert code == 2
    assert "error:" in output
    assert message in output
    assert not Path("out.jsonl").exists()
