from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from collapse_tests.records import Perplexity, Record, Verdict
from collapse_tests.report.html import rendering


def _record(edit_id: str, verdict: Verdict, me_ppl: float, editor: str) -> Record:
    request = {"prompt": "Granite is a sort of", "subject": "Granite", "target_new": "soup"}
    measured = Perplexity(me_ppl, me_ppl / 2, 50, 1100)
    return Record(
        f"tiny-{editor}-{edit_id}",
        "tiny",
        editor,
        edit_id,
        request,
        verdict,
        unedited=Perplexity(170.0, 90.0, 50, 1100),
        edited=measured,
        ppl_limit=1000.0,
    )


@pytest.fixture
def write_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """`write_run(name)`: a run of two editors below `reports` of the directory that is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(rendering, "javascript_bundle", lambda: "let a = 1;")

    def write(name: str = "20310506-070809", end: str = "\n") -> Path:
        folder = tmp_path / "reports" / name
        folder.mkdir(parents=True)
        records = [
            _record("hard:0000", Verdict.COLLAPSED, 5e4, "rome"),
            _record("hard:0000", Verdict.STABLE, 175.0, "ft"),
        ]
        text = "\n".join(json.dumps(record.to_dict()) for record in records)
        (folder / "records.jsonl").write_text(text + end)
        (folder / "environment.json").write_text("{}")
        return folder

    return write
