"""Request files of every layout, and every way in which they can be wrong."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from collapse_tests.datasets.requests import SMOKE_SIZE, load_requests
from collapse_tests.edit_request import EditRequest
from collapse_tests.errors import UsageError

FLAT: dict[str, Any] = {
    "prompt": "The river that crosses Vienna is the",
    "subject": "Vienna",
    "target_new": "Nile",
    "ground_truth": "Danube",
    "rephrase_prompt": "Through Vienna flows the",
    "locality_prompt": "The river that crosses Cairo is the",
    "locality_ground_truth": "Nile",
}

NESTED: dict[str, Any] = {
    "case_id": 4,
    "requested_rewrite": {
        "prompt": "The river that crosses {} is the",
        "subject": "Vienna",
        "target_new": {"str": "Nile", "id": "Q1"},
        "target_true": {"str": "Danube", "id": "Q2"},
    },
    "paraphrase_prompts": ["Through Vienna flows the", "Vienna is on the"],
    "neighborhood_prompts": ["The river that crosses Budapest is the", "The river that crosses Linz is the"],
}


def without(record: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in keys}


def rewrite(**fields: Any) -> dict[str, Any]:
    return {**NESTED, "requested_rewrite": {**NESTED["requested_rewrite"], **fields}}


def load_one(tmp_path: Path, record: object) -> EditRequest:
    path = tmp_path / "facts.json"
    path.write_text(json.dumps([record]), encoding="utf-8")
    (named,) = load_requests(str(path))
    return named.request


def error_of(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        load_requests(str(path))
    return str(caught.value)


def error_for(tmp_path: Path, *records: object) -> str:
    path = tmp_path / "facts.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    message = error_of(path)
    assert message.startswith(f"--edits {str(path)!r}")
    return message


def test_the_flat_layout_is_taken_field_by_field(tmp_path: Path) -> None:
    assert load_one(tmp_path, FLAT) == EditRequest(**FLAT)


def test_only_prompt_subject_and_target_are_required(tmp_path: Path) -> None:
    bare = {key: FLAT[key] for key in ("prompt", "subject", "target_new")}

    assert load_one(tmp_path, bare) == EditRequest(**bare)
    empty: dict[str, Any] = {"ground_truth": None, "rephrase_prompt": "", "locality_prompt": None, "locality": {}}
    assert load_one(tmp_path, {**bare, **empty}) == EditRequest(**bare)


def test_answers_lose_their_outer_space(tmp_path: Path) -> None:
    record = {**FLAT, "target_new": " Nile", "ground_truth": ["Danube\n"], "locality_ground_truth": " Nile "}

    assert load_one(tmp_path, record) == EditRequest(**FLAT)


def test_rephrase_is_another_name_of_rephrase_prompt(tmp_path: Path) -> None:
    record = {**without(FLAT, "rephrase_prompt"), "rephrase": FLAT["rephrase_prompt"]}

    assert load_one(tmp_path, record) == EditRequest(**FLAT)


@pytest.mark.parametrize(
    "locality",
    [
        {"river": {"prompt": FLAT["locality_prompt"], "ground_truth": "Nile"}},
        {"river": {"prompt": [FLAT["locality_prompt"], "More"], "ground_truth": ["Nile", "Po"]}},
        {"river": [{"prompt": FLAT["locality_prompt"], "ground_truth": [["Nile"]]}], "other": {"prompt": "x"}},
        {
            "none": {"prompt": [], "ground_truth": []},
            "river": {"prompt": FLAT["locality_prompt"], "ground_truth": "Nile"},
        },
    ],
)
def test_nested_locality_yields_its_first_prompt(tmp_path: Path, locality: object) -> None:
    record = {**without(FLAT, "locality_prompt", "locality_ground_truth"), "locality": locality}

    assert load_one(tmp_path, record) == EditRequest(**FLAT)


def test_a_flat_prompt_may_hold_a_slot_for_the_subject(tmp_path: Path) -> None:
    record = {**FLAT, "prompt": "The river that crosses {} is the"}

    assert load_one(tmp_path, record) == EditRequest(**FLAT)


def test_counterfact_shares_the_true_answer_with_its_neighbours(tmp_path: Path) -> None:
    expected = {**FLAT, "locality_prompt": NESTED["neighborhood_prompts"][0], "locality_ground_truth": "Danube"}

    assert load_one(tmp_path, NESTED) == EditRequest(**expected)


def test_counterfact_works_without_paraphrases_and_neighbours(tmp_path: Path) -> None:
    request = load_one(tmp_path, {**without(NESTED, "paraphrase_prompts"), "neighborhood_prompts": []})

    assert (request.rephrase_prompt, request.locality_prompt, request.locality_ground_truth) == (None, None, None)


@pytest.mark.parametrize("suffix", [".json", ".JSON", ".jsonl", ".JsonL"])
def test_ids_are_the_position_in_the_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"my-own édits.v2{suffix}"
    records = [{**FLAT, "target_new": f"answer {index}"} for index in range(3)]
    lines = "\ufeff" + json.dumps(records[0]) + "\r\n\n" + "\n".join(map(json.dumps, records[1:]))
    path.write_text(lines if "l" in suffix.lower()[-1:] else json.dumps(records), encoding="utf-8")

    named = load_requests(str(path))

    assert [item.edit_id for item in named] == [f"my_own__dits.v2:000{index}" for index in range(3)]
    assert [item.request.target_new for item in named] == ["answer 0", "answer 1", "answer 2"]


def test_an_object_of_id_to_record_keeps_its_order(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text(json.dumps({"9": FLAT, "1": {**FLAT, "target_new": "Po"}}))

    assert [(item.edit_id, item.request.target_new) for item in load_requests(str(path))] == [
        ("facts:0000", "Nile"),
        ("facts:0001", "Po"),
    ]


def test_a_line_separator_inside_a_json_line_is_text(tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    path.write_text(json.dumps({**FLAT, "rephrase_prompt": "one\u2028two"}, ensure_ascii=False), encoding="utf-8")

    assert load_requests(str(path))[0].request.rephrase_prompt == "one\u2028two"


@pytest.mark.parametrize("name", ["hard", "normal"])
def test_shipped_sets_are_complete(name: str) -> None:
    named = load_requests(name)

    assert len(named) >= SMOKE_SIZE
    assert [item.edit_id for item in named] == [f"{name}:{index:04d}" for index in range(len(named))]
    for item in named:
        request = item.request
        assert None not in (request.ground_truth, request.rephrase_prompt)
        assert None not in (request.locality_prompt, request.locality_ground_truth)


def test_smoke_is_the_start_of_both_sets_under_their_ids() -> None:
    assert load_requests("smoke") == load_requests("hard")[:8] + load_requests("normal")[:8]


def test_limit_and_sample_leave_ids_alone(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text(json.dumps([{**FLAT, "target_new": f"answer {index}"} for index in range(50)]))
    every = load_requests(str(path))

    sampled = load_requests(str(path), sample=10, seed=3)

    assert load_requests(str(path), limit=4) == every[:4]
    assert sampled == [every[index] for index in sorted(random.Random(3).sample(range(50), 10))]
    assert load_requests(str(path), sample=10, seed=4) != sampled
    assert load_requests(str(path), sample=10, limit=3, seed=3) == sampled[:3]
    assert load_requests(str(path), sample=51) == every


def test_a_missing_file_offers_what_may_have_been_meant(tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_text("[]")

    assert "did you mean 'hard'? Give a path or a shipped set: smoke, hard, normal" in error_of(Path("hardd"))
    assert f"did you mean {str(tmp_path / 'facts.json')!r}?" in error_of(tmp_path / "fact.json")
    assert "no file; Give a path" in error_of(tmp_path / "nowhere" / "zzz.json")


def test_a_directory_is_no_request_file(tmp_path: Path) -> None:
    assert "is a directory; give a file in it, ending in .json or .jsonl" in error_of(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("facts.csv", b"a,b", "unknown suffix; give a file ending in .json or .jsonl"),
        ("facts.json", b"", "holds no records"),
        ("facts.jsonl", b" \n\n", "holds no records"),
        ("facts.json", b"[]", "holds no records"),
        ("facts.json", b"{}", "holds no records"),
        ("facts.json", b'["caf\xe9"]', "is not UTF-8 (byte 5 is 0xe9); save it as UTF-8"),
        ("facts.json", b'[\n {"prompt": oops}]', "is not valid JSON at line 2, column 13"),
        ("facts.jsonl", b'{}\n\n{"a": 1,}', "an unknown layout"),
        ("facts.json", b'"text"', "holds no list; give a list of records"),
        ("facts.json", b'{"prompt": "p", "subject": "s"}', "holds a single record; give a list of records"),
        ("facts.json", b"[" * 200_000, "is not JSON this program can read"),
        ("facts.json", b"[" + b"9" * 5000 + b"]", "is not JSON this program can read"),
    ],
)
def test_an_unusable_file_is_named_with_its_fault(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)

    message = error_of(path)
    assert message.startswith(f"--edits {str(path)!r}")
    assert problem in message


def test_invalid_json_lines_are_counted_from_one(tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    path.write_text(json.dumps(FLAT) + '\n\n{"prompt": }\n')

    assert "is not valid JSON at line 3, column 12" in error_of(path)


def test_records_in_lines_are_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    path.write_text("\n" + json.dumps(FLAT) + "\n\n" + json.dumps(without(FLAT, "subject")))

    assert f"--edits {str(path)!r}, line 4: field 'subject' is missing; add it" in error_of(path)


def test_records_of_an_object_are_named_by_key(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text(json.dumps({"a": FLAT, "b": without(FLAT, "subject")}))

    assert "record 1 ('b'): field 'subject' is missing" in error_of(path)


@pytest.mark.parametrize("key", ["prompt", "subject", "target_new"])
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "is '', empty or only white space; give some text"),
        (" \t\n", "empty or only white space"),
        (7, "is a number, not text; give a string"),
        (True, "is a boolean, not text"),
        ({"str": "x"}, "is an object, not text"),
        ("caf\ud800", "is not text: '\\ud800' is half a surrogate pair"),
        (None, "is missing; add it"),
    ],
)
def test_required_fields_are_text(tmp_path: Path, key: str, value: object, problem: str) -> None:
    message = error_for(tmp_path, {**FLAT, key: value})

    assert f"record 0: field {key!r} is " in message
    assert problem in message


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"target_new": ["a", "b"]}, "field 'target_new' is a list of 2; give one text"),
        ({"ground_truth": []}, "field 'ground_truth' is a list of 0; give one text"),
        ({"ground_truth": 1930}, "field 'ground_truth' is a number, not text"),
        ({"rephrase_prompt": " "}, "field 'rephrase_prompt' is ' ', empty"),
        ({"locality_prompt": 3}, "field 'locality_prompt' is a number"),
        ({"locality_prompt": None, "locality": {"x": "y"}}, "field 'locality.x' is text, not an object"),
        ({"locality_prompt": None, "locality": {"x": {"prompt": 1}}}, "field 'locality.x.prompt' is a number"),
        ({"locality_prompt": None, "locality": [1]}, "field 'locality' is a list, not an object"),
        ({"subject": "Wien"}, "field 'subject' is 'Wien', which is not in the prompt 'The river"),
        ({"subject": "vienna"}, "which is not in the prompt"),
        ({"subject": "s"}, "field 'subject' is 's', which is more than once in the prompt"),
        ({"prompt": "ana is in banana", "subject": "ana"}, "more than once"),
        ({"prompt": "{} and Vienna"}, "more than once"),
        ({"prompt": "{} and {}"}, "field 'prompt' is '{} and {}', which has other braces than no braces, or one {}"),
        ({"prompt": "{0} is Vienna"}, "other braces"),
        ({"prompt": "Vienna is in }"}, "other braces"),
    ],
)
def test_a_flat_record_is_consistent(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    assert problem in error_for(tmp_path, {**FLAT, **change})


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (rewrite(prompt="The river of Vienna is"), "field 'requested_rewrite.prompt' is 'The river of Vienna is'"),
        (rewrite(prompt="{} or {}"), "other braces than exactly one {}"),
        (rewrite(prompt="{} near Vienna"), "field 'requested_rewrite.subject' is 'Vienna', which is more than once"),
        (rewrite(subject=None), "field 'requested_rewrite.subject' is missing"),
        (rewrite(target_new="Nile"), "field 'requested_rewrite.target_new' is text, not an object"),
        (rewrite(target_new={"str": " "}), "field 'requested_rewrite.target_new.str' is ' ', empty"),
        (rewrite(target_true={}), "field 'requested_rewrite.target_true.str' is missing"),
        ({**NESTED, "requested_rewrite": []}, "field 'requested_rewrite' is a list, not an object"),
        ({**NESTED, "paraphrase_prompts": [5]}, "field 'paraphrase_prompts' is a number, not text"),
    ],
)
def test_a_counterfact_record_is_consistent(tmp_path: Path, record: dict[str, Any], problem: str) -> None:
    assert problem in error_for(tmp_path, record)


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ("text", "record 0: is text, not an object"),
        (None, "record 0: is null, not an object"),
        ([FLAT], "record 0: is a list, not an object"),
        ({"question": "q", "answer": "a"}, "record 0: has an unknown layout (keys: question, answer)"),
        ({}, "record 0: has an unknown layout (keys: none)"),
    ],
)
def test_a_record_of_no_layout_is_refused(tmp_path: Path, record: object, problem: str) -> None:
    assert problem in error_for(tmp_path, record)


def test_the_first_fault_is_told_and_the_others_counted(tmp_path: Path) -> None:
    bad = without(FLAT, "subject")

    assert "record 1: field 'subject' is missing" in error_for(tmp_path, FLAT, bad, "x", FLAT, bad)
    assert error_for(tmp_path, FLAT, bad, "x", FLAT, bad).endswith(" (2 further records are broken too)")
    assert error_for(tmp_path, bad, "x").endswith(" (1 further record is broken too)")
    assert error_for(tmp_path, bad).endswith("add it")
