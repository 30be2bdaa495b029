"""Every record of a file: good, broken or a repetition, and never gone unseen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from collapse_tests.datasets.layouts import Layout
from collapse_tests.datasets.requests import RequestFile, load_requests, screen_requests
from collapse_tests.datasets.screening import BrokenRecord
from collapse_tests.edit_request import EditRequest
from collapse_tests.errors import UsageError
from fixtures.file_server import FileServer

FLAT: dict[str, Any] = {"prompt": "The river in Vienna is the", "subject": "Vienna", "target_new": "Nile"}
NESTED: dict[str, Any] = {
    "requested_rewrite": {
        "prompt": "The river in {} is the",
        "subject": "Vienna",
        "target_new": {"str": "Nile"},
        "target_true": {"str": "Danube"},
    }
}
ZSRE: dict[str, Any] = {
    "src": "Which river flows through Vienna?",
    "subject": "Vienna",
    "alt": " Nile",
    "answers": ["Danube ", "the Danube"],
    "rephrase": "What is the river of Vienna?",
    "loc": "nq question: who wrote the third man",
    "loc_ans": "Graham Greene",
    "pred": "Rhine",
    "cond": "Rhine >> Nile || Which river flows through Vienna?",
}


def write(path: Path, *records: object) -> str:
    dump = json.dumps(records) if path.suffix == ".json" else "\n".join(map(json.dumps, records))
    path.write_text(dump, encoding="utf-8")
    return str(path)


def test_zsre_is_taken_field_by_field(tmp_path: Path) -> None:
    (named,) = load_requests(write(tmp_path / "z.json", ZSRE))

    assert named.request == EditRequest(
        prompt="Which river flows through Vienna?",
        subject="Vienna",
        target_new="Nile",
        ground_truth="Danube",
        rephrase_prompt="What is the river of Vienna?",
        locality_prompt="nq question: who wrote the third man",
        locality_ground_truth="Graham Greene",
    )


def test_zsre_needs_its_question_subject_and_answer_only(tmp_path: Path) -> None:
    bare = {key: ZSRE[key] for key in ("src", "subject", "alt")}

    (named,) = load_requests(write(tmp_path / "z.json", bare))
    (other,) = load_requests(write(tmp_path / "y.json", {**bare, "answers": []}))

    assert named.request == other.request == EditRequest("Which river flows through Vienna?", "Vienna", "Nile")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"alt": ""}, "field 'alt' is '', empty"),
        ({"alt": None}, "field 'alt' is missing"),
        ({"src": None}, "field 'src' is missing"),
        ({"subject": None}, "field 'subject' is missing"),
        ({"subject": "Wien"}, "field 'subject' is 'Wien', which is not in the src 'Which river"),
        ({"subject": "r"}, "field 'subject' is 'r', which is more than once in the src"),
        ({"src": "Which {} of Vienna?"}, "field 'src' is 'Which {} of Vienna?', which has other braces than none"),
        ({"answers": [7]}, "field 'answers' is a number, not text"),
        ({"loc": 3}, "field 'loc' is a number"),
    ],
)
def test_a_zsre_record_is_consistent(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_requests(write(tmp_path / "z.json", {**ZSRE, **change}))

    assert f"record 0: {problem}" in str(caught.value)


def test_one_zsre_record_alone_is_no_file_of_records(tmp_path: Path) -> None:
    path = tmp_path / "z.json"
    path.write_text(json.dumps(ZSRE))

    with pytest.raises(UsageError, match="holds a single record"):
        load_requests(str(path))


def test_fields_of_the_authors_own_are_ignored(tmp_path: Path) -> None:
    measured = {**FLAT, "ground_truth": "Danube", "rome_gpt2-xl_ppl": 14210.5, "rome_gptj_ppl": None}

    (named,) = load_requests(write(tmp_path / "h.json", measured))

    assert named.request == EditRequest(**FLAT, ground_truth="Danube")


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
@pytest.mark.parametrize("skip_broken", [False, True])
def test_a_file_is_of_one_layout(tmp_path: Path, suffix: str, skip_broken: bool) -> None:
    source = write(tmp_path / f"m.{suffix}", "broken", FLAT, FLAT, NESTED, ZSRE)
    first, second = ("record 1", "record 3") if suffix == "json" else ("line 2", "line 4")

    with pytest.raises(UsageError) as caught:
        load_requests(source, skip_broken=skip_broken)

    assert str(caught.value) == (
        f"--edits {source!r} mixes layouts: {first} is in EasyEdit's flat layout, {second} in COUNTERFACT's layout; "
        "give a file to each layout"
    )


@pytest.mark.parametrize(("record", "layout"), [(FLAT, Layout.FLAT), (NESTED, Layout.COUNTERFACT), (ZSRE, Layout.ZSRE)])
def test_the_layout_is_told(tmp_path: Path, record: object, layout: Layout) -> None:
    assert screen_requests(write(tmp_path / "r.json", record)).layout is layout


def test_broken_records_keep_their_place_in_the_ids(tmp_path: Path) -> None:
    other = {**FLAT, "target_new": "Po"}
    source = write(tmp_path / "some.json", FLAT, {**FLAT, "subject": "Wien"}, 7, other)

    found = screen_requests(source)

    assert [(one.edit_id, one.request.target_new) for one in found.requests] == [
        ("some:0000", "Nile"),
        ("some:0003", "Po"),
    ]
    assert [record.where for record in found.broken] == ["record 1", "record 2"]
    assert found.broken[1] == BrokenRecord(
        "record 2", "is a number, not an object; give prompt, subject and target_new"
    )


def test_lines_that_are_no_json_are_broken_records(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    path.write_text(json.dumps(FLAT) + "\n\n{oops\n" + json.dumps({**FLAT, "target_new": "Po"}) + "\n")

    found = screen_requests(str(path))

    assert [one.edit_id for one in found.requests] == ["some:0000", "some:0002"]
    (broken,) = found.broken
    assert broken.where == "line 3"
    assert broken.why.startswith("is not valid JSON at line 3, column 2 (")


def test_own_broken_records_are_an_error_unless_skipped(tmp_path: Path) -> None:
    source = write(tmp_path / "some.json", 7, FLAT)

    with pytest.raises(UsageError, match=r"record 0: is a number, not an object"):
        load_requests(source)
    assert [one.edit_id for one in load_requests(source, skip_broken=True)] == ["some:0001"]
    with pytest.raises(UsageError, match=r"holds no usable record: --edits .*, record 0: is a number.*1 further"):
        load_requests(write(tmp_path / "none.json", 7, 8), skip_broken=True)


def test_broken_records_of_published_sets_are_left_out(file_server: FileServer) -> None:
    file_server.publish("counterfact", json.dumps([NESTED, {**NESTED, "requested_rewrite": 1}]).encode())

    assert [one.edit_id for one in load_requests("counterfact")] == ["counterfact:0000"]
    assert screen_requests("counterfact").note("counterfact") == (
        "counterfact: 1 request, 1 broken record left out (collapse-data check counterfact names it)"
    )


def test_repetitions_are_kept_and_counted(tmp_path: Path) -> None:
    other = {**FLAT, "target_new": "Po"}
    elsewhere = {**FLAT, "prompt": "The river of Vienna is the"}
    records = [FLAT, other, elsewhere, FLAT, {**FLAT, "ground_truth": "Danube"}, other, {**FLAT, "target_new": "Rhine"}]
    source = write(tmp_path / "some.json", *records)

    found = screen_requests(source)

    assert len(load_requests(source)) == len(records)
    assert found.duplicates == (
        ("some:0003", "some:0000"),
        ("some:0004", "some:0000"),
        ("some:0005", "some:0001"),
    )
    assert found.conflicting == 2
    assert found.note("some.json") == "some.json: 7 requests, 3 duplicates"


def test_nothing_is_noted_of_a_sound_set() -> None:
    for name in ("smoke", "hard", "normal"):
        assert screen_requests(name).note(name) is None


def test_counts_are_readable() -> None:
    broken = [json.dumps(index) for index in range(7)]
    good = [json.dumps({**FLAT, "target_new": f"river {index}"}) for index in range(1200)]
    file = RequestFile("file", "\n".join([*good, *broken, good[0], good[1], good[2]]).encode(), "file", lines=True)

    assert file.screened().note("counterfact") == (
        "counterfact: 1,203 requests, 7 broken records left out (collapse-data check counterfact names them), "
        "3 duplicates"
    )


def test_a_changed_file_is_looked_at_again(tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    assert len(load_requests(write(path, FLAT))) == 1
    assert load_requests(write(path, {**FLAT, "target_new": "Rhin"}))[0].request.target_new == "Rhin"


def test_a_large_file_is_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [{**NESTED, "pad": "x" * 1500, "case_id": index} for index in range(21_919)]
    path = tmp_path / "large.json"
    path.write_bytes(json.dumps(records).encode())
    assert path.stat().st_size > 30e6
    assert len(load_requests(str(path), limit=30_000)) == 21_919

    def never(record: object) -> EditRequest:
        raise AssertionError("parsed again")

    monkeypatch.setattr("collapse_tests.datasets.screening.parse_record", never)
    assert load_requests(str(path), limit=3, sample=9)[0].edit_id.startswith("large:")
