"""Sets by name, records that are no requests, and runs without a network, from the command line to the records."""

from __future__ import annotations

import json
import os
import shlex
from typing import Any

import pytest

from collapse_tests.network import OFFLINE_VARIABLE
from fixtures.file_server import FileServer
from fixtures.pytester_cases import FACTS, SENTENCES, GateProject

INCOMPLETE = {"prompt": "Rome is a city in", "subject": "Rome"}
#: A character that a tokenizer may drop, but neither white space nor empty.
INVISIBLE = "\u200b"


def be_online() -> None:
    """Forget what a run in this process was told; the fixture puts everything back."""
    os.environ[OFFLINE_VARIABLE] = os.environ["HF_HUB_OFFLINE"] = ""


def nested(fact: dict[str, str]) -> dict[str, Any]:
    """`fact` in COUNTERFACT's layout."""
    return {
        "requested_rewrite": {
            "prompt": fact["prompt"].replace(fact["subject"], "{}"),
            "subject": fact["subject"],
            "target_new": {"str": fact["target_new"]},
            "target_true": {"str": fact.get("ground_truth", "Oslo")},
        }
    }


@pytest.fixture
def counterfact(gate_project: GateProject, file_server: FileServer) -> FileServer:
    """A small COUNTERFACT to fetch: a good record, a broken one, another good one and the first again."""
    records = [nested(FACTS[0]), {**nested(FACTS[1]), "requested_rewrite": {}}, nested(FACTS[1]), nested(FACTS[0])]
    file_server.publish("counterfact", json.dumps(records).encode())
    return file_server


def test_a_published_set_is_fetched_and_gated(gate_project: GateProject, counterfact: FileServer) -> None:
    result = gate_project.run(edits="counterfact")

    assert list(gate_project.verdicts()) == ["counterfact:0000", "counterfact:0002", "counterfact:0003"]
    result.stdout.fnmatch_lines(
        [
            "collapse: rome on tiny-gpt2, edits counterfact, *",
            "collapse: counterfact: 3 requests, 1 broken record left out (collapse-data check counterfact names it), "
            "1 duplicate",
        ]
    )
    result.stderr.fnmatch_lines(["collapse: fetching counterfact, once: *", "collapse: counterfact is in *"])
    assert len(counterfact.asked) == 1

    again = gate_project.run("--offline", edits="counterfact")
    assert len(gate_project.records()) == 3
    assert "fetching" not in again.stderr.str()
    assert len(counterfact.asked) == 1


@pytest.mark.parametrize("option", ["--scenario", "--machine"])
def test_sequences_take_published_sets_too(gate_project: GateProject, counterfact: FileServer, option: str) -> None:
    result = gate_project.pytester.runpytest_inprocess(
        *("--editor", "rome", "--model", "tiny-gpt2", option, "counterfact", "--collect-only", "-q")
    )

    kind = option.removeprefix("--")
    result.stdout.fnmatch_lines([f"*[[]tiny-gpt2-rome-{kind}:counterfact[]]"])


def test_own_files_keep_their_names_beside_a_set(gate_project: GateProject, counterfact: FileServer) -> None:
    gate_project.write_facts(FACTS[:1], "counterfact.jsonl")

    result = gate_project.run("--collect-only", "-q", edits="counterfact.jsonl,counterfact")

    ids = [line.partition("[tiny-gpt2-rome-")[2].rstrip("]") for line in result.outlines if "[tiny" in line]
    assert ids == ["counterfact~2:0000", "counterfact:0000", "counterfact:0002", "counterfact:0003"]


def test_published_sentences_are_fetched_and_measured_on(gate_project: GateProject, file_server: FileServer) -> None:
    file_server.publish("me-ppl-50", json.dumps([{"Corpus": "x", "Text": text} for text in SENTENCES]).encode())
    by_name = gate_project.run("--edits-limit", "1", texts="me-ppl-50")
    by_name.assert_outcomes(passed=1)
    (named,) = gate_project.records()
    gate_project.run("--edits-limit", "1")
    (own,) = gate_project.records()

    assert named["edited"] == own["edited"]
    assert file_server.asked == [("/ME-PPL_50.json", None)]


def test_what_cannot_be_had_ends_the_run_with_the_remedy(gate_project: GateProject, file_server: FileServer) -> None:
    file_server.publish("counterfact", json.dumps([nested(FACTS[0])]).encode())

    offline = gate_project.run("--offline", edits="counterfact")
    be_online()
    by_hand = gate_project.run(edits="hardcf")
    file_server.status = 503
    refused = gate_project.run("--collect-only", edits="counterfact")

    for result, message in (
        (
            offline,
            "ERROR: published set 'counterfact' is not in the cache and must not be fetched offline; download it *",
        ),
        (by_hand, "ERROR: published set 'hardcf' is not in the cache and has no address of its own; download it *"),
        (refused, "ERROR: published set 'counterfact' could not be fetched (*: HTTP status 503 *); download it *"),
    ):
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([message])
        assert "Traceback" not in result.stderr.str()
    assert len(file_server.asked) == 1


def test_a_mirror_is_asked_first(gate_project: GateProject, counterfact: FileServer) -> None:
    result = gate_project.run("--collect-only", "-q", "--mirror", f"{counterfact.base}/lab/", edits="counterfact")

    assert result.ret == pytest.ExitCode.OK
    assert [path for path, _ in counterfact.asked] == ["/lab/counterfact.json"]


def test_broken_records_of_a_file_are_skipped_when_asked(gate_project: GateProject, own_network: None) -> None:
    gate_project.write_facts([FACTS[0], INCOMPLETE, FACTS[2]], "some.jsonl")

    result = gate_project.run("--skip-broken", edits="some.jsonl")

    assert gate_project.verdicts() == {"some:0000": "stable", "some:0002": "collapsed"}
    result.stdout.fnmatch_lines(["collapse: some.jsonl: 2 requests, 1 broken record left out (collapse-data check *"])
    (rerun,) = [line for line in result.outlines if line.startswith("rerun: ")]
    again = gate_project.pytester.runpytest_inprocess(*shlex.split(rerun)[2:])
    again.assert_outcomes(failed=1, deselected=1)


def test_a_rerun_stays_offline(gate_project: GateProject, own_network: None) -> None:
    result = gate_project.run("--offline", "-k", "facts:0002")

    result.assert_outcomes(failed=1, deselected=3)
    (rerun,) = [line for line in result.outlines if line.startswith("rerun: ")]
    assert " --offline " in rerun


def test_conftests_import_frameworks_offline(gate_project: GateProject, own_network: None) -> None:
    gate_project.pytester.makeconftest("import os\nSEEN = os.environ['HF_HUB_OFFLINE']\nassert SEEN == '1', SEEN\n")

    assert gate_project.run("--offline", "--collect-only", "-q").ret == pytest.ExitCode.OK
    be_online()
    assert gate_project.run("--collect-only", "-q").ret != pytest.ExitCode.OK


def test_a_subject_without_tokens_is_an_error_of_its_own(gate_project: GateProject, own_network: None) -> None:
    dropping = gate_project.pytester.mkdir("dropping")
    for file in (gate_project.path / "tiny-gpt2").iterdir():
        (dropping / file.name).write_bytes(file.read_bytes())
    tokenizer = json.loads((dropping / "tokenizer.json").read_text())
    tokenizer["normalizer"] = {"type": "Replace", "pattern": {"String": INVISIBLE}, "content": ""}
    (dropping / "tokenizer.json").write_text(json.dumps(tokenizer))
    empty = {"prompt": f"The city of {INVISIBLE} is in", "subject": INVISIBLE, "target_new": "Norway"}
    gate_project.write_facts([FACTS[0], empty, FACTS[2]], "some.jsonl")

    result = gate_project.run(model="dropping", edits="some.jsonl")

    assert gate_project.verdicts() == {"some:0000": "stable", "some:0001": "error", "some:0002": "collapsed"}
    (record,) = [record for record in gate_project.records() if record["verdict"] == "error"]
    assert "subject '\\u200b' tokenises to nothing" in record["error"]
    result.stdout.fnmatch_lines(["*subject '\\u200b' tokenises to nothing*"])
    assert "Traceback" not in result.stdout.str()
