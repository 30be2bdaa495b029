from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from collapse_tests.baseline.facts import facts_of, facts_of_settings, hyperparameters_of, texts_digest_of
from collapse_tests.environment import fingerprint
from collapse_tests.settings import Downstream, Override, Settings


def test_paths_lose_their_directories_and_sentences_have_a_digest(tmp_path: Path) -> None:
    facts = []
    for name in ("here", "there"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "texts.txt").write_text("One sentence.\nAnother one.\n")
        settings = Settings(("rome",), ppl_texts=str(folder / "texts.txt"), edits=("hard", str(folder / "my.jsonl")))
        facts.append(facts_of_settings(settings))

    assert facts[0] == facts[1]
    assert facts[0]["edits"] == ["hard", "my.jsonl"]
    assert facts[0]["ppl_texts"] == "texts.txt"

    (tmp_path / "there" / "texts.txt").write_text("One sentence.\nA third one.\n")
    assert facts_of_settings(settings)["ppl_texts_digest"] != facts[0]["ppl_texts_digest"]


def test_a_windows_path_loses_its_directories_too() -> None:
    assert facts_of({"edits": [r"C:\data\my.jsonl"]})["edits"] == ["my.jsonl"]


@pytest.mark.parametrize("when", [Downstream.NEVER, Downstream.FINAL])
def test_where_tasks_are_not_measured_they_are_no_fact(when: Downstream) -> None:
    facts = facts_of_settings(Settings(("rome",), downstream=when, tasks=("piqa",)))

    assert facts["downstream"] == "never"
    assert not {"tasks", "tasks_limit", "suspect_growth", "gate_on_drop"} & facts.keys()


def test_an_environment_file_gives_the_same_facts() -> None:
    settings = Settings(
        ("rome",), tasks=("piqa",), overrides=(Override("rome", "steps", 5), Override("rome", "steps", [math.inf]))
    )

    environment = json.loads(json.dumps(fingerprint(settings), default=str))

    assert facts_of(environment["settings"], environment["ppl_texts_digest"]) == facts_of_settings(settings)


def test_what_settings_lack_is_no_fact() -> None:
    assert facts_of({"seed": 3}) == {"seed": 3}


def test_the_last_value_of_a_hyperparameter_wins_and_is_data() -> None:
    overrides = [Override("rome", "steps", 5), Override("ft", "x", math.nan), Override("rome", "steps", (1, {2: 3}))]

    found = hyperparameters_of(map(dataclasses.asdict, overrides))

    assert found == {"rome": {"steps": [1, {"2": 3}]}, "ft": {"x": "nan"}}


def test_sentences_that_are_gone_have_no_digest(tmp_path: Path) -> None:
    assert texts_digest_of(str(tmp_path / "gone.txt")) is None
    assert texts_digest_of(None) == texts_digest_of("default")
