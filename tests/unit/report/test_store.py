from __future__ import annotations

import json
import math
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import pytest

from collapse_tests.errors import InfrastructureError, UsageError
from collapse_tests.records import Record, Verdict
from collapse_tests.report.store import RunDirectory, read_records

NOW = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
STRICT_RECORD = (
    "from collapse_tests.records import Record, Verdict\nrecord = Record('c', 'm', 'e', '1', {}, Verdict.STABLE)"
)


def refuse(constant: str) -> NoReturn:
    raise AssertionError(f"{constant} is no strict JSON")


def run_child(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    script = f"{STRICT_RECORD}\n{textwrap.dedent(code)}"
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_run_directory_is_named_by_its_start(tmp_path: Path) -> None:
    with RunDirectory.create(tmp_path / "deep" / "reports", {}, now=NOW) as run:
        assert run.path == tmp_path / "deep" / "reports" / "20310506-070809"
        assert (run.path / "records.jsonl").read_bytes() == b""


def test_runs_of_the_same_second_get_their_own_directories(tmp_path: Path) -> None:
    def create(_: int) -> str:
        with RunDirectory.create(tmp_path, {}, now=NOW) as run:
            return run.path.name

    with ThreadPoolExecutor(8) as pool:
        names = sorted(pool.map(create, range(8)))

    assert names == ["20310506-070809", *(f"20310506-070809-{n}" for n in range(2, 9))]


def test_environment_is_strict_readable_json(tmp_path: Path) -> None:
    environment: dict[str, Any] = {
        "settings": {"reports_dir": Path("x/y"), "ppl_limit": math.inf, "editors": ("rome", "ft")},
        "loss": math.nan,
        "name": "\ud800é",
        "seed": 0,
        "tf32": None,
    }

    with RunDirectory.create(tmp_path, environment, now=NOW) as run:
        text = (run.path / "environment.json").read_text(encoding="utf-8")

    assert text.count("\n") > len(environment)
    assert json.loads(text, parse_constant=refuse) == {
        "settings": {"reports_dir": "x/y", "ppl_limit": "inf", "editors": ["rome", "ft"]},
        "loss": "nan",
        "name": "\ud800é",
        "seed": 0,
        "tf32": None,
    }


def test_environment_that_is_no_data_leaves_no_directory(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        RunDirectory.create(tmp_path, {"model": object()}, now=NOW)

    assert list(tmp_path.iterdir()) == []


def test_appended_records_can_be_read_before_the_run_ends(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    first = make_record("1", Verdict.COLLAPSED, math.inf)
    second = make_record("2", Verdict.STABLE, 210.0, error="\u2028\r\n\ud800", diagnostics={"denominator": -math.inf})

    with RunDirectory.create(tmp_path, {}, now=NOW) as run:
        run.append(first)
        assert read_records(run.path) == ([first], [])
        run.append(second)
        assert read_records(run.path / "records.jsonl") == ([first, second], [])


def test_every_line_is_strict_json(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    with RunDirectory.create(tmp_path, {}, now=NOW) as run:
        run.append(make_record("1", Verdict.COLLAPSED, math.nan, ppl_limit=math.inf))
        text = (run.path / "records.jsonl").read_text(encoding="ascii")

    assert text.endswith("\n")
    assert text.count("\n") == 1
    data = json.loads(text, parse_constant=refuse)
    assert (data["edited"]["me_ppl"], data["ppl_limit"]) == ("nan", "inf")


def test_close_can_be_repeated(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, {}, now=NOW)
    run.close()
    run.close()


def test_killed_process_keeps_its_records(tmp_path: Path) -> None:
    done = run_child(
        """
        import os, signal, sys
        from datetime import datetime
        from pathlib import Path
        from collapse_tests.report.store import RunDirectory
        run = RunDirectory.create(Path(sys.argv[1]), {}, now=datetime(2031, 5, 6, 7, 8, 9))
        for _ in range(3):
            run.append(record)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        tmp_path,
    )

    assert done.returncode == -9, done.stderr
    records, problems = read_records(tmp_path / "20310506-070809")
    assert (len(records), problems) == (3, [])


@pytest.mark.skipif(sys.platform != "linux", reason="fills the disk by a limit on the file size")
def test_full_disk_is_named_and_tears_no_line(tmp_path: Path) -> None:
    done = run_child(
        """
        import json, resource, sys
        from datetime import datetime
        from pathlib import Path
        from collapse_tests.errors import InfrastructureError
        from collapse_tests.report.store import RunDirectory
        size = len(json.dumps(record.to_dict())) + 1
        run = RunDirectory.create(Path(sys.argv[1]), {}, now=datetime(2031, 5, 6, 7, 8, 9))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size * 3 // 2, 10 * size))
        run.append(record)
        try:
            run.append(record)
        except InfrastructureError as error:
            print(error)
        assert (run.path / "records.jsonl").stat().st_size == size
        resource.setrlimit(resource.RLIMIT_FSIZE, (10 * size, 10 * size))
        run.append(record)
        """,
        tmp_path,
    )

    assert done.returncode == 0, done.stderr
    assert str(tmp_path) in done.stdout
    assert "--reports-dir" in done.stdout
    records, problems = read_records(tmp_path / "20310506-070809")
    assert (len(records), problems) == (2, [])


def test_reports_dir_that_is_a_file_is_refused_with_a_remedy(tmp_path: Path) -> None:
    place = tmp_path / "taken"
    place.touch()

    with pytest.raises(InfrastructureError, match="--reports-dir") as caught:
        RunDirectory.create(place, {}, now=NOW)

    assert str(place) in str(caught.value)


@pytest.mark.parametrize("cut", [1, 40, -2])
def test_half_written_last_line_is_dropped_and_named(
    tmp_path: Path, make_record: Callable[..., Record], cut: int
) -> None:
    whole = make_record("1", Verdict.STABLE, 210.0)
    line = json.dumps(whole.to_dict())
    file = tmp_path / "records.jsonl"
    file.write_text(f"{line}\n{line[:cut]}", encoding="utf-8")

    records, problems = read_records(file)

    assert records == [whole]
    assert len(problems) == 1
    assert f"{file}:2:" in problems[0]


def test_last_record_that_lacks_only_its_newline_counts(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    whole = make_record("1", Verdict.STABLE, 210.0)
    (tmp_path / "records.jsonl").write_text(json.dumps(whole.to_dict()), encoding="utf-8")

    assert read_records(tmp_path) == ([whole], [])


@pytest.mark.parametrize(
    "bad",
    [
        b'{"schema": 1, "mod',
        b"",
        b"[1]",
        b"3",
        b"{}",
        b'{"schema": 1}',
        b'{"schema": 2}',
        b"\xff\xfe",
        b"[" * 200_000,
    ],
    ids=["cut", "empty", "list", "number", "no-fields", "few-fields", "other-schema", "no-text", "deep"],
)
@pytest.mark.parametrize("is_last", [True, False], ids=["last", "middle"])
def test_any_other_bad_line_is_an_error_with_its_place(
    tmp_path: Path, make_record: Callable[..., Record], bad: bytes, is_last: bool
) -> None:
    line = json.dumps(make_record("1", Verdict.STABLE, 210.0).to_dict()).encode()
    file = tmp_path / "records.jsonl"
    file.write_bytes(line + b"\n" + bad + b"\n" + (b"" if is_last else line + b"\n"))

    with pytest.raises(UsageError) as caught:
        read_records(file)

    assert f"{file}:2:" in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "great"},
        {"seconds": 3},
        {"ppl_limit": "many"},
        {"edited": {"me_ppl": 1.0}},
        {"surplus": 1},
        {"diagnostics": None},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_line_with_a_bad_field_is_an_error_with_its_place(
    tmp_path: Path, make_record: Callable[..., Record], changes: dict[str, Any]
) -> None:
    data = {**make_record("1", Verdict.STABLE, 210.0).to_dict(), **changes}
    file = tmp_path / "records.jsonl"
    file.write_text(json.dumps(data) + "\n", encoding="utf-8")

    with pytest.raises(UsageError) as caught:
        read_records(file)

    assert f"{file}:1:" in str(caught.value)


def test_bare_nan_is_no_json(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    data = {**make_record("1", Verdict.STABLE, 210.0).to_dict(), "ppl_limit": math.nan}
    file = tmp_path / "records.jsonl"
    file.write_text(json.dumps(data) + "\n", encoding="utf-8")

    with pytest.raises(UsageError, match="NaN"):
        read_records(file)


def test_missing_records_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"records\.jsonl") as caught:
        read_records(tmp_path)

    assert str(tmp_path) in str(caught.value)


def test_reports_import_neither_torch_nor_pytest() -> None:
    done = run_child(
        """
        import sys
        import collapse_tests.report.message, collapse_tests.report.terminal
        print([name for name in ("torch", "transformers", "pytest", "_pytest", "numpy") if name in sys.modules])
        """
    )

    assert done.stdout.strip() == "[]", done.stderr
