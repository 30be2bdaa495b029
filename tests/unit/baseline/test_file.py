from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings

from collapse_tests.baseline.file import baseline_text, read_baseline, write_baseline
from collapse_tests.baseline.snapshot import CaseOutcome, Group, Snapshot, snapshot_of
from collapse_tests.errors import InfrastructureError, UsageError
from collapse_tests.records import Record, badness
from tests.unit.baseline.cases import (
    COLLAPSED,
    ERROR,
    FACTS,
    INEFFECTIVE,
    ROME,
    outcome,
    record,
    runs,
    scenario_outcome,
    snapshot,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "baseline.json"


def comparable(cases: dict[str, CaseOutcome]) -> dict[str, tuple[object, ...]]:
    """Outcomes as tuples in which NaN equals NaN."""
    return {
        case: (
            one.request,
            one.verdict,
            None if one.me_ppl is None else badness(one.me_ppl),
            one.success,
            {task: badness(score) for task, score in (one.tasks or {}).items()},
        )
        for case, one in cases.items()
    }


@settings(deadline=None)
@given(records=runs(errors=False))
def test_what_is_written_is_read(records: list[Record], tmp_path_factory: pytest.TempPathFactory) -> None:
    made = snapshot_of(records, FACTS, {"rome": {"steps": 5, "lengths": [[5, 1]], "note": "\u202e\ud800"}})
    file = tmp_path_factory.mktemp("baseline") / "b.json"

    assert write_baseline(file, made)
    read = read_baseline(file)

    assert read.facts == made.facts
    assert read.groups == made.groups
    assert comparable(dict(read.cases)) == comparable(dict(made.cases))
    assert baseline_text(read) == file.read_text(encoding="ascii")
    assert not write_baseline(file, read)


def test_the_file_is_sorted_and_has_a_case_on_each_line(file: Path) -> None:
    cases = {"b:0002": outcome(COLLAPSED, math.inf), "a:0001": outcome(me_ppl=math.nan), "b:0001": outcome()}

    write_baseline(file, snapshot(cases))

    lines = [line for line in file.read_text().splitlines() if '"verdict"' in line]
    assert [line.split('"')[1] for line in lines] == ["tiny-rome-a:0001", "tiny-rome-b:0001", "tiny-rome-b:0002"]
    assert '"me_ppl": "nan"' in lines[0]
    assert '"me_ppl": "inf"' in lines[2]
    assert json.loads(file.read_text(), parse_constant=pytest.fail)["schema"] == 1


def test_one_case_that_changed_changes_one_line(file: Path) -> None:
    cases = {f"hard:{n:04}": outcome() for n in range(5)}
    before = baseline_text(snapshot(cases)).splitlines()

    after = baseline_text(snapshot(cases | {"hard:0002": outcome(COLLAPSED, 5e4)})).splitlines()

    assert sum(old != new for old, new in zip(before, after, strict=True)) == 1


def test_six_significant_digits(file: Path) -> None:
    made = snapshot_of([record("hard:0001", me_ppl=1234.56789, scores={"quiz": 1 / 3})], {})

    assert made.cases["tiny-rome-hard:0001"].me_ppl == 1234.57
    assert made.cases["tiny-rome-hard:0001"].tasks == {"quiz": 0.333333}


def test_errors_are_no_outcome(file: Path) -> None:
    write_baseline(file, snapshot({"hard:0001": outcome(ERROR, None), "hard:0002": outcome()}))

    assert list(read_baseline(file).cases) == ["tiny-rome-hard:0002"]


def test_a_directory_is_made_and_a_link_stays(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "b.json"
    write_baseline(target, snapshot({"hard:0001": outcome()}))
    link = tmp_path / "link.json"
    link.symlink_to(target)

    write_baseline(link, snapshot({"hard:0002": outcome()}))

    assert link.is_symlink()
    assert list(read_baseline(target).cases) == ["tiny-rome-hard:0002"]
    assert [path.name for path in target.parent.iterdir()] == ["b.json"]


def test_a_full_disk_leaves_the_file_as_it_was(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_baseline(file, snapshot({"hard:0001": outcome()}))
    before = file.read_bytes()

    def write(path: Path, data: bytes) -> int:
        with path.open("wb") as torn:
            torn.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write)
    with pytest.raises(InfrastructureError, match=r"baseline\.json: No space left on device; free some space"):
        write_baseline(file, snapshot({"hard:0002": outcome()}))

    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


GOOD = {
    "schema": 1,
    "settings": {},
    "groups": {"m-e": {"model": "m", "editor": "e", "model_digest": "", "hyperparameters": {}}},
    "cases": {"m-e-f:0": {"verdict": "stable", "me_ppl": 2.5, "success": None, "request": "r"}},
}


def changed(section: str, name: str, **fields: object) -> str:
    document = json.loads(json.dumps(GOOD))
    document[section].setdefault(name, {}).update(fields)
    return json.dumps(document, indent=1)


def test_a_file_in_another_layout_is_read(file: Path) -> None:
    file.write_text("\ufeff" + json.dumps(GOOD, indent=4), encoding="utf-8")

    assert read_baseline(file).cases["m-e-f:0"] == CaseOutcome("r", outcome().verdict, 2.5, None, {})


def test_scenarios_have_lines_of_their_own(file: Path) -> None:
    scenarios = {"hard": scenario_outcome(4), "soft": scenario_outcome(), "odd": scenario_outcome(verdict=ERROR)}
    write_baseline(file, snapshot({}, scenarios))

    read = read_baseline(file)

    assert read.scenarios == {f"tiny-rome-scenario:{name}": scenarios[name] for name in ("hard", "soft")}
    assert baseline_text(read) == file.read_text()
    lines = [line for line in file.read_text().splitlines() if "scenario:" in line]
    assert lines[0] == (
        '"tiny-rome-scenario:hard": {"verdict": "collapsed", "collapsed_after": 4, "planned": 9, '
        '"requests": "aaaaaaaaaaaaaaaa"},'
    )


def test_a_file_without_scenarios_is_as_it_always_was(file: Path) -> None:
    write_baseline(file, snapshot({"hard:0001": outcome()}))

    assert list(json.loads(file.read_text())) == ["schema", "settings", "groups", "cases"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"planned": None}, "planned is missing"),
        ({"planned": True}, "planned True is no number of edits"),
        ({"collapsed_after": 0}, "collapsed_after 0 is no number of edits"),
        ({"collapsed_after": 2.5}, "is no number of edits"),
        ({"collapsed_after": None}, "does not go with the verdict collapsed"),
        ({"verdict": "stable"}, "collapsed_after 2 does not go with the verdict stable"),
        ({"requests": ["aaaa"]}, "are no digest"),
    ],
)
def test_a_scenario_that_cannot_be_is_refused(file: Path, fields: dict[str, object], message: str) -> None:
    good = {"verdict": "collapsed", "collapsed_after": 2, "planned": 3, "requests": "aaaabbbb"}
    file.write_text(json.dumps(GOOD | {"scenarios": {"m-e-scenario:f": good | fields}}, indent=1))

    with pytest.raises(UsageError, match=rf"baseline\.json:\d+: case 'm-e-scenario:f': .*{message}"):
        read_baseline(file)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "no JSON"),
        ("[1]", 1, "no JSON object"),
        ("[" * 100_000, 1, "no JSON"),
        ('{"schema": 1,\n<<<<<<< ours\n', 2, "no JSON"),
        ('{"schema": 1, "settings": {},\n "groups": NaN}', 2, "NaN is no JSON value"),
        ('{"schema": 1, "settings": {},\n"groups": {}}', 1, "'cases' is missing"),
        ('{"schema": 1, "settings": {},\n"groups": {}, "cases": []}', 2, "'cases' is missing or no JSON object"),
        ('{"schema": 1, "cases": {\n"a": 1,\n"a": 2}}', 3, "'a' is there twice"),
        (changed("cases", "x-y-f:0", verdict="stable", me_ppl=2.0, success=True, request="r"), 19, "of no group"),
        (changed("cases", "m-e-f:0", verdict="fine"), 13, "'fine' is not a valid Verdict"),
        (changed("cases", "m-e-f:0", me_ppl="huge"), 13, "text for a number"),
        (changed("cases", "m-e-f:0", me_ppl=-1), 13, "no perplexity"),
        (changed("cases", "m-e-f:0", success="yes"), 13, "neither true nor false"),
        (changed("cases", "m-e-f:0", request=None), 13, "no digest"),
        (changed("cases", "m-e-f:0", tasks=[1]), 13, "case 'm-e-f:0'"),
        (changed("groups", "m-e", model=None), 5, "no text"),
        (changed("groups", "m-e", hyperparameters=[]), 5, "hyperparameters"),
        (changed("groups", "more", model="m"), 11, "lacks 'editor'"),
        (json.dumps(GOOD | {"settings": {"ppl_limit": "high"}}), 1, "ppl_limit 'high' is no positive finite number"),
        (json.dumps(GOOD | {"settings": {"ppl_limit": 10**400}}), 1, "is no positive finite number"),
        (json.dumps(GOOD | {"settings": {"edits": [1]}}), 1, "edits [1] is no list of names"),
        (json.dumps(GOOD | {"settings": {"scenarios": "hard"}}), 1, "scenarios 'hard' is no list of names"),
    ],
)
def test_damage_is_told_with_its_line_and_a_remedy(file: Path, text: str, line: int, message: str) -> None:
    file.write_text(text)

    with pytest.raises(UsageError) as told:
        read_baseline(file)

    assert str(told.value).startswith(f"baseline {file}:{line}: ")
    assert message in str(told.value)
    assert "restore the file from version control" in str(told.value)


def test_another_schema_is_refused(file: Path) -> None:
    file.write_text(json.dumps(GOOD | {"schema": 2}, indent=1))

    with pytest.raises(UsageError, match=r"baseline\.json:2: schema 2, this version reads schema 1; make it again"):
        read_baseline(file)


def test_bytes_that_are_no_text_are_refused(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(UsageError, match="is no text; restore"):
        read_baseline(file)


def test_a_missing_file_is_told(file: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be read \(No such file.*--update-baseline"):
        read_baseline(file)


def test_groups_keep_their_order_of_the_alphabet(file: Path) -> None:
    groups = {"tiny-rome": ROME, "big-ft": Group("big", "ft", "x", {"b": 1, "a": {"d": 1, "c": 2}})}
    write_baseline(file, Snapshot({}, groups, {"tiny-rome-f:0": outcome(INEFFECTIVE)}))

    (line,) = [line for line in file.read_text().splitlines() if line.startswith('"big-ft"')]
    assert line.endswith('"hyperparameters": {"a": {"c": 2, "d": 1}, "b": 1}},')
    assert list(read_baseline(file).groups) == ["big-ft", "tiny-rome"]
