"""The shipped downstream items: lm-eval loads them as they are, and nothing but the context tells the answer."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

import collapse_tests
from collapse_tests.datasets.requests import load_requests

DATA = Path(collapse_tests.__file__).parent / "data"
TASKS = DATA / "tasks"
CHOICES = {"commonsense": 2, "completion": 4}
SETS = (*CHOICES, "last_word")

#: How far above chance a rule may come that looks at no context.
MARGIN = 0.05

Row = dict[str, Any]


def rows_of(name: str) -> list[Row]:
    return [json.loads(line) for line in (TASKS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def options_of(row: Row) -> list[str]:
    return list(row["choices"]) if "choices" in row else [row["target"].strip()]


def words_of(text: str) -> list[str]:
    return re.findall(r"[\w'-]+", text.lower())


def share(rows: Sequence[Row], rule: Callable[[str], int]) -> float:
    """How often the option of the largest value is right, with ties broken by lot."""
    rates = []
    for row in rows:
        values = [rule(option) for option in row["choices"]]
        rates.append((values[row["gold"]] == max(values)) / values.count(max(values)))
    return fmean(rates)


@pytest.mark.parametrize(("name", "k"), CHOICES.items())
def test_choice_items_have_a_context_and_k_options(name: str, k: int) -> None:
    rows = rows_of(name)

    assert len(rows) >= 100
    for row in rows:
        assert row.keys() == {"query", "choices", "gold"}
        assert len(set(row["choices"])) == len(row["choices"]) == k
        assert row["gold"] in range(k)
        assert all(option == option.strip() != "" for option in row["choices"])


def test_last_words_are_single_words_that_hardly_repeat() -> None:
    rows = rows_of("last_word")

    assert len(rows) >= 100
    for row in rows:
        assert row.keys() == {"query", "target"}
        assert re.fullmatch(r" [A-Za-z]+", row["target"]), "lm-eval puts no space between context and target here"
    assert max(Counter(row["target"] for row in rows).values()) <= 0.03 * len(rows)


def test_every_context_is_used_once_in_all_sets() -> None:
    queries = [row["query"] for name in SETS for row in rows_of(name)]

    assert [query for query, count in Counter(query.lower() for query in queries).items() if count > 1] == []
    assert [query for query in queries if query != query.strip() or not query] == []


@pytest.mark.parametrize(("name", "k"), CHOICES.items())
def test_gold_positions_are_balanced_in_the_file_and_in_its_beginning(name: str, k: int) -> None:
    labels = [row["gold"] for row in rows_of(name)]

    for end in range(k, len(labels) + 1, k):
        assert set(Counter(labels[:end]).values()) == {end // k}


@pytest.mark.parametrize(("name", "k"), CHOICES.items())
def test_an_option_is_offered_k_times_as_often_as_it_is_right(name: str, k: int) -> None:
    """So a model that ignores the context and likes some words better than others is at chance."""
    rows = rows_of(name)
    offered = Counter(option for row in rows for option in row["choices"])
    right = Counter(row["choices"][row["gold"]] for row in rows)

    assert offered == Counter({option: k * count for option, count in right.items()})


@pytest.mark.parametrize(("name", "k"), CHOICES.items())
def test_length_does_not_tell_the_right_option(name: str, k: int) -> None:
    rows = rows_of(name)

    assert share(rows, len) <= 1 / k + MARGIN
    assert share(rows, lambda option: -len(option)) <= 1 / k + MARGIN


@pytest.mark.parametrize("edits", ["hard", "normal"])
def test_no_item_mentions_a_subject_of_the_shipped_edits(edits: str) -> None:
    texts = [
        f" {' '.join(words_of(' '.join([row['query'], *options_of(row)])))} " for name in SETS for row in rows_of(name)
    ]
    subjects = {" ".join(words_of(named.request.subject)).removeprefix("the ") for named in load_requests(edits)}
    forms = {form for subject in subjects for form in (subject, f"{subject}s", subject.removesuffix("s"))}

    assert [(form, text) for form in sorted(forms) for text in texts if f" {form} " in text] == []


def test_lm_eval_loads_the_tasks_without_a_network_or_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import datasets
    from lm_eval.tasks import TaskManager

    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError(f"a connection was tried: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.CRITICAL, logger="lm_eval")

    manager = TaskManager(include_path=TASKS, include_defaults=False)
    loaded = manager.load([f"collapse_{name}" for name in SETS])["tasks"]

    for name in SETS:
        task, rows = loaded[f"collapse_{name}"], rows_of(name)
        task.build_all_requests(rank=0, world_size=1)
        asked = [(row["query"], f" {option}") for row in rows for option in options_of(row)]
        assert [instance.args for instance in task.instances] == asked
        assert task.config.num_fewshot == 0
        assert task.higher_is_better() == {"acc": True}
    gold = rows_of("commonsense")[0]["gold"]
    for option, expected in ((gold, 1.0), (1 - gold, 0.0)):
        likelihoods = [(-1.0 if index == option else -2.0, False) for index in range(2)]
        assert loaded["collapse_commonsense"].process_results(rows_of("commonsense")[0], likelihoods)["acc"] == expected
    for greedy in (True, False):
        assert loaded["collapse_last_word"].process_results(rows_of("last_word")[0], [(-1.0, greedy)])["acc"] == greedy
    assert list(tmp_path.iterdir()) == []


def test_the_readme_lists_the_digest_of_every_file() -> None:
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `tasks/(.+?)` \| `([0-9a-f]{64})` \|$", readme, flags=re.MULTILINE))
    files = [path for path in TASKS.iterdir() if path.suffix in {".jsonl", ".yaml"}]

    assert listed == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
