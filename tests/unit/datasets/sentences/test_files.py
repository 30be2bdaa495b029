"""Documents of files: streamed, counted, and refused with the line at fault."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collapse_tests.datasets.sentences import lines
from collapse_tests.datasets.sentences.array import array_items
from collapse_tests.datasets.sentences.files import FileSource
from collapse_tests.datasets.sentences.lines import Lines
from collapse_tests.errors import UsageError


def documents(path: Path, field: str | None = None) -> list[str]:
    """What the source gives, after its check has agreed."""
    source = FileSource("corpus 'x'", str(path), field)
    looked_at: list[int] = []
    source.check(looked_at.append)
    read: list[int] = []
    found = list(source.documents(read.append))
    assert sum(read) == sum(looked_at) == source.total
    return found


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "One\ntwo\n\n\n  \nThree", ["One\ntwo\n", "Three"]),
        ("a.txt", b"\xef\xbb\xbfOne\r\ntwo\r\n\r\nThree\r\n", ["One\ntwo\n", "Three\n"]),
        ("a.jsonl", '{"text": "One"}\n\n"Two"\n{"Text": " "}\n', ["One", "Two"]),
        ("a.json", '{"text": "One"}\n{"text": "Two"}\n', ["One", "Two"]),
        ("a.JSON", '[{"text": "One"}, "Two"]', ["One", "Two"]),
        ("a.json", '\n [\n {"text":\n "One"\n}\n,\n"Two"]\n\n', ["One", "Two"]),
        ("a.jsonl", '"half a \\ud800 pair"', ["half a \ufffd\ufffd\ufffd pair"]),
    ],
)
def test_documents_of_every_layout(tmp_path: Path, name: str, content: str | bytes, expected: list[str]) -> None:
    assert documents(write(tmp_path, name, content)) == expected


def test_a_directory_is_its_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    write(tmp_path / "b", "x.jsonl", '"Two"')
    write(tmp_path, "a.txt", "One")
    write(tmp_path, "c.md", "not text for this")
    write(tmp_path, "empty.txt", "")
    assert documents(tmp_path) == ["One", "Two"]
    identity = FileSource("", str(tmp_path), None).check(lambda _: None)
    assert [name for name, _ in identity] == ["a.txt", "b/x.jsonl", "empty.txt"]
    assert identity[0][1] == f"SHA-256 `{hashlib.sha256(b'One').hexdigest()}`"


def test_of_many_files_the_digest_of_their_list_is_told(tmp_path: Path) -> None:
    for number in range(9):
        write(tmp_path, f"{number}.txt", str(number))
    listing = "".join(f"{hashlib.sha256(str(n).encode()).hexdigest()}  {n}.txt\n" for n in range(9))
    ((name, digest),) = FileSource("", str(tmp_path), None).check(lambda _: None)
    assert name.startswith("9 files")
    assert hashlib.sha256(listing.encode()).hexdigest() in digest


def test_the_field_is_the_named_one(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"text": "One", "body": "Two"}')
    assert documents(path, "body") == ["Two"]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.txt", b"fine\nbad \xff\n", r"a\.txt', line 2 is not UTF-8 \(byte 4 of the line is 0xff\); save the file"),
        ("a.txt", " \n\n", r"a\.txt' holds no text; give a file with some"),
        ("a.jsonl", "", "holds no text"),
        ("a.json", "[]", "holds no text"),
        ("a.jsonl", '"One"\n{"text": "One"\n', r"a\.jsonl' is not valid JSON at line 2"),
        (
            "a.jsonl",
            '"One"\n\n{"body": 1, "b": 2}\n',
            r"line 3: field 'text' is missing \(the record's fields: body, b\)",
        ),
        ("a.jsonl", '{"text": null}', r"line 1, field 'text': None is not text; give a string"),
        ("a.json", '["One",\n2]', r"line 2: 2 is not text"),
        ("a.json", '["One"\n"Two"]', r"is not valid JSON at line 2 \(a comma or the list's end is missing\)"),
        ("a.json", '["One",\n{"text": }]', r"is not valid JSON at line 2 \(Expecting value\)"),
        ("a.json", '["One",\n"Tw\n', r"is not valid JSON at line 2 \("),
        ("a.json", '["One"]\n\nmore', r"is not valid JSON at line 3 \(there is more after the list's end\)"),
        ("a.json", '["One",\n', r"is not valid JSON at line 2 \(Expecting value\)"),
        ("a.csv", "One", r"a\.csv' has an unknown suffix; give a file ending in \.txt or \.jsonl or \.json"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(
    tmp_path: Path, name: str, content: str | bytes, problem: str
) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(UsageError, match=rf"corpus 'x'.*{problem}"):
        FileSource("corpus 'x'", str(path), None).check(lambda _: None)


def test_the_missing_field_s_remedy_names_the_form(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"text": "One"}')
    with pytest.raises(UsageError, match=r"field 'body' is missing.*NAME=SOURCE:FIELD"):
        FileSource("", str(path), "body").check(lambda _: None)


def test_a_missing_file_and_an_empty_directory_are_refused_at_once(tmp_path: Path) -> None:
    for source in (str(tmp_path / "none.txt"), "no\0file.txt", "~nobody-at-all/a.txt"):
        with pytest.raises(UsageError, match=r"is no file; give the path|cannot be read"):
            FileSource("", source, None)
    with pytest.raises(UsageError, match=r"has no file ending in \.txt"):
        FileSource("", str(tmp_path), None)


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 100)
    path = write(tmp_path, "a.txt", "short\n" + "x" * 101)
    with pytest.raises(UsageError, match=r"line 2 is longer than 100 bytes; break it up"):
        FileSource("", str(path), None).check(lambda _: None)


def test_a_long_text_without_blank_lines_is_cut_at_line_ends(tmp_path: Path) -> None:
    content = ("x" * 999 + "\n") * 2500
    found = documents(write(tmp_path, "a.txt", content))
    assert "".join(found) == content
    assert max(map(len, found)) < 2**21


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.json"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, name: str) -> None:
    texts = ["x" * 10_000] * 1500
    content = {
        "a.txt": "\n\n".join(texts),
        "a.jsonl": "\n".join(map(json.dumps, texts)),
        "a.json": json.dumps(texts, indent=1),
    }[name]
    source = FileSource("", str(write(tmp_path, name, content)), None)
    del texts, content
    tracemalloc.start()
    count = sum(1 for _ in source.documents(lambda _: None))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 1500
    assert peak < source.total / 4


json_values = st.recursive(
    st.text(max_size=5) | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None, database=None)
@given(values=st.lists(json_values, max_size=6), indent=st.sampled_from([None, 0, 2]), ascii_only=st.booleans())
def test_items_of_a_list_are_those_of_the_whole_list(
    tmp_path_factory: pytest.TempPathFactory, values: list[object], indent: int | None, ascii_only: bool
) -> None:
    path = tmp_path_factory.mktemp("list") / "a.json"
    path.write_text(json.dumps(values, indent=indent, ensure_ascii=ascii_only), encoding="utf-8", newline="")
    with path.open("rb") as stream:
        some = Lines(stream, "", lambda _: None)
        assert [value for _, value in array_items(next(some), some, "")] == values
