from __future__ import annotations

import json
import math
from pathlib import Path

from collapse_tests.datasets.requests import load_requests
from collapse_tests.datasets.writing import write_request_file
from collapse_tests.mining.subset import hard_requests
from collapse_tests.records import Verdict
from tests.unit.mining.cases import case, record


def test_one_model_or_editor_that_collapses_is_enough() -> None:
    records = [
        record(case(0), 300.0),
        record(case(1), 9000.0),
        record(case(2), 300.0),
        record(case(0, model="n"), 250.0),
        record(case(1, model="n"), 250.0),
        record(case(2, editor="ft"), math.nan),
        record(case(3), 300.0, Verdict.INEFFECTIVE),
        record(case(4), None),
    ]
    hard = hard_requests(records)
    assert [request.edit_id for request in hard] == ["set:0001", "set:0002"]
    assert hard[0].records == (records[1], records[4])  # the one that survived says so, too
    assert hard[1].records == (records[2], records[5])


def test_nothing_hard_is_nothing() -> None:
    assert hard_requests([]) == []
    assert hard_requests([record(case(0), 300.0), record(case(1), None)]) == []


def test_fields_are_named_after_editor_and_model() -> None:
    records = [
        record(case(7), 9000.0, diagnostics={"denominator": 0.01, "steps": 20.0}),
        record(case(7, model="some/where/gpt2-xl", editor="my.pack:Fancy"), 250.0, diagnostics={}),
        record(case(7, model="n"), None),
    ]
    (hard,) = hard_requests(records)
    assert hard.to_dict() == {
        "prompt": "City 7 is in",
        "subject": "City 7",
        "target_new": "Peru",
        "ground_truth": "Oslo",
        "locality_prompt": "Rain is",
        "source": "set:0007",
        "rome_m_ppl": 9000.0,
        "Fancy_gpt2-xl_ppl": 250.0,
        "diagnostics": {"rome_m": {"denominator": 0.01, "steps": 20.0}, "Fancy_gpt2-xl": {}, "rome_n": {}},
    }


def test_models_of_one_name_keep_their_numbers_apart() -> None:
    records = [
        record(of, me_ppl)
        for number, pair in enumerate([(9000.0, 300.0), (None, 8000.0)])
        for of, me_ppl in zip((case(number, model="a/gpt"), case(number, model="b/gpt")), pair, strict=True)
    ]
    first, second = (hard.to_dict() for hard in hard_requests(records))
    assert (first["rome_gpt_ppl"], first["rome_gpt~2_ppl"]) == (9000.0, 300.0)
    assert second["rome_gpt~2_ppl"] == 8000.0
    assert "rome_gpt_ppl" not in second
    assert list(second["diagnostics"]) == ["rome_gpt", "rome_gpt~2"]


def test_numbers_are_short() -> None:
    (hard,) = hard_requests([record(case(0), 123456789.123, diagnostics={"denominator": 0.00123456789})])
    assert hard.to_dict()["rome_m_ppl"] == 123457000.0
    assert hard.to_dict()["diagnostics"] == {"rome_m": {"denominator": 0.00123457}}


def test_numbers_that_are_none_are_words_and_the_file_is_read_again(tmp_path: Path) -> None:
    records = [
        record(case(0), math.nan, diagnostics={"update_norm": math.inf}),
        record(case(0, model="n"), math.inf),
        record(case(1), 5000.5),
    ]
    file = tmp_path / "hard.jsonl"
    write_request_file(file, (request.to_dict() for request in hard_requests(records)))

    first, second = (json.loads(line) for line in file.read_text(encoding="utf-8").splitlines())
    assert (first["rome_m_ppl"], first["rome_n_ppl"]) == ("nan", "inf")
    assert first["diagnostics"]["rome_m"] == {"update_norm": "inf"}
    assert second["rome_m_ppl"] == 5000.5
    assert [named.request for named in load_requests(str(file))] == [case(0).request, case(1).request]
