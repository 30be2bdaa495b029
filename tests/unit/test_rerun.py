from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from collapse_tests.cases import Case
from collapse_tests.edit_request import EditRequest
from collapse_tests.override_values import parse_overrides
from collapse_tests.rerun import rerun_command
from collapse_tests.settings import Downstream, Override, Settings

REQUEST = EditRequest("Oslo is in", "Oslo", "Peru")


def words(settings: Settings, model: str = "smollm2-135m", editor: str = "rome", edit_id: str = "smoke:3") -> list[str]:
    return shlex.split(rerun_command(Case(model, editor, edit_id, REQUEST), settings))


def test_defaults_are_left_out() -> None:
    assert words(Settings(("rome", "c-rome"))) == [
        *("pytest", "--editor", "rome", "--model", "smollm2-135m", "--edits", "smoke"),
        *("-k", "[smollm2-135m-rome-smoke:3]"),
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"edits": ("smoke", "my facts.json")}, ["--edits", "smoke,my facts.json"]),
        ({"edits_limit": 5}, ["--edits-limit", "5"]),
        ({"edits_sample": 7}, ["--edits-sample", "7"]),
        ({"ppl_texts": "it's a path.txt"}, ["--ppl-texts", "it's a path.txt"]),
        ({"tasks_data": Path("data/v1.0")}, ["--tasks-data", "data/v1.0"]),
        ({"tasks": ("piqa", "default")}, ["--tasks", "piqa,default"]),
        ({"gate_on_drop": True}, ["--gate-on-drop"]),
        ({"downstream": Downstream.SUSPECT}, ["--downstream", "suspect"]),
        ({"device": "cuda:1"}, ["--device", "cuda:1"]),
        ({"dtype": "bfloat16"}, ["--dtype", "bfloat16"]),
        ({"seed": 3}, ["--seed", "3"]),
        ({"batch_size": 4}, ["--batch-size", "4"]),
        ({"matmul_precision": "float32"}, ["--matmul-precision", "float32"]),
        ({"fail_ineffective": True}, ["--fail-ineffective"]),
        ({"overrides": (Override("rome", "steps", 3),)}, ["--set", "rome.steps=3"]),
        ({"overrides": (Override("rome", "block", None),)}, ["--set", "rome.block=null"]),
        ({"overrides": (Override("rome", "keys", "prompt"),)}, ["--set", "rome.keys=prompt"]),
        (
            {"overrides": (Override("rome", "context_lengths", [[5, 10]]),)},
            ["--set", "rome.context_lengths=[[5, 10]]"],
        ),
        (
            {"overrides": (Override("rome", "steps", 3, "--editor-config a.yaml"), Override("rome", "steps", 4))},
            ["--set", "rome.steps=3", "--set", "rome.steps=4"],
        ),
    ],
)
def test_other_values_are_given(options: dict[str, Any], expected: list[str]) -> None:
    given = words(Settings(**{"editors": ("rome",), **options}))
    start = given.index(expected[0])
    assert given[start : start + len(expected)] == expected
    assert len(given) == 9 + (0 if "edits" in options else len(expected))


def test_hyperparameters_of_other_editors_are_left_out() -> None:
    overrides = (Override("c-rome", "steps", 3), Override("rome", "steps", 4))
    assert "--set rome.steps=4" in " ".join(words(Settings(("rome", "c-rome"), overrides=overrides)))
    assert "c-rome" not in " ".join(words(Settings(("rome", "c-rome"), overrides=overrides)))


@pytest.mark.parametrize(
    "value",
    [
        *(3, 0.5, 1e-10, 5e22, True, None, [], ["1", 1], {"a": {"b": [None, "x\ny"]}}, float("inf")),
        *[
            "5e-4",
            "2026-01-02",
            "3",
            "true",
            "",
            " ",
            "a: b",
            "it's",
            "two\nlines\n",
            "tab\t",
            "äß🙂",
            "x" * 300,
            "#",
            "-",
            "=",
        ],
    ],
)
def test_a_value_is_read_as_it_was_given(value: object) -> None:
    given = words(Settings(("rome",), overrides=(Override("rome", "field", value),)))
    text = given[given.index("--set") + 1]
    assert "\n" not in text
    assert parse_overrides(text) == [Override("rome", "field", value)]


@pytest.mark.parametrize("limit", [500.0, 0.1, 1234567.0, 1000.0001, 1e300, float("inf")])
def test_the_limit_is_exact(limit: float) -> None:
    given = words(Settings(("rome",), ppl_limit=limit))
    assert float(given[given.index("--ppl-limit") + 1]) == limit


def test_paths_with_spaces_and_quotes_survive_the_shell() -> None:
    given = words(Settings(("x",)), model="/my models/it's tiny", editor="pack.mod:Editor")
    assert given[given.index("--model") + 1] == "/my models/it's tiny"
    assert given[given.index("--editor") + 1] == "pack.mod:Editor"
    assert given[-2:] == ["-k", "[it_s_tiny-Editor-smoke:3]"]


def test_one_line() -> None:
    assert "\n" not in rerun_command(Case("m", "e", "f:0", REQUEST), Settings(("e",)))


def test_a_case_whose_id_is_no_keyword_is_selected_by_its_request() -> None:
    assert words(Settings(("x",), models=("a", "b/a")), model="a")[-1] == "[a-rome-smoke:3]"
    given = shlex.split(rerun_command(Case("a", "rome", "f:1", REQUEST, "a~2-rome"), Settings(("rome",))))
    assert given[-2:] == ["-k", "f:1"]
