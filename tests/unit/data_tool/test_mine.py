"""`collapse-data mine` as it is typed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from collapse_tests.cache import CACHE_VARIABLE
from collapse_tests.data_tool.main import app
from collapse_tests.datasets.requests import load_requests
from tests.unit.mining.editors import LIMIT, TEXTS, Counting, Knowing, write_facts

Save = Callable[[str], Path]
KINDS = ("mild", "large", "endless", "raises", "nothing", "mild", "large")
HARD = ["facts:0001", "facts:0002", "facts:0004", "facts:0006"]


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    Path("texts.json").write_text(json.dumps(TEXTS), "ascii")
    write_facts(Path("facts.jsonl"), KINDS)
    Counting.reset()
    yield
    Counting.reset()


def data(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, " ".join(done.output.split())


@pytest.fixture
def mine(saved_tiny_model: Save) -> Callable[..., tuple[int, str]]:
    def run(*more: str, editor: str = f"{Counting.__module__}:Counting", out: str = "hard.jsonl") -> tuple[int, str]:
        measure = ("--ppl-texts", "texts.json", "--ppl-limit", LIMIT, "--device", "cpu", "--batch-size", "1")
        where = ("--model", str(saved_tiny_model("gpt2")), "--editor", editor, "--out", out)
        return data("mine", "facts.jsonl", *where, *measure, "--matmul-precision", "float32", *more)

    return run


def written(file: str = "hard.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(file).read_text("utf-8").splitlines()]


def sources(file: str = "hard.jsonl") -> list[str]:
    return [record["source"] for record in written(file)]


def test_what_collapses_the_model_is_written_with_how_hard_it_is(mine: Callable[..., tuple[int, str]]) -> None:
    code, output = mine()
    assert code == 0, output
    assert sources() == HARD
    large, endless, nothing, _ = written()
    assert large == {
        **{"prompt": "City 1 large is in", "subject": "City 1 large", "target_new": "Oslo", "ground_truth": "Lima"},
        "source": "facts:0001",
        "Counting_tiny-gpt2_ppl": pytest.approx(54312.9, rel=1e-4),
        "diagnostics": {"Counting_tiny-gpt2": {"added": 3.0}},
    }
    assert endless["Counting_tiny-gpt2_ppl"] == "inf"
    assert nothing["Counting_tiny-gpt2_ppl"] == "nan"
    assert nothing["diagnostics"] == {"Counting_tiny-gpt2": {"added": "nan"}}
    assert [named.request.subject for named in load_requests("hard.jsonl")] == [
        f"City {kind}" for kind in ("1 large", "2 endless", "4 nothing", "6 large")
    ]
    assert "4 requests that collapse a model are in hard.jsonl" in output
    assert "ended in an error; the first, facts:0003: counting raised ValueError: not this one" in output
    assert "Counting 7 4" in output


def test_records_are_kept_beside_the_file_and_a_second_run_makes_nothing_again(
    mine: Callable[..., tuple[int, str]],
) -> None:
    mine()
    first = Path("hard.jsonl").read_bytes()
    assert len(list(Path("hard.sweep").glob("*/records.jsonl"))) == 1
    Counting.asked = []
    Path("hard.jsonl").write_text("something else\n" * 50, "ascii")

    code, output = mine()

    assert code == 0
    assert Counting.asked == [3]  # only the error
    assert "to make, 6 there already" in output
    assert Path("hard.jsonl").read_bytes() == first


def test_a_sweep_goes_on_under_another_name_of_the_set_and_of_the_file(mine: Callable[..., tuple[int, str]]) -> None:
    mine("--records", "kept", "--edits-limit", "3")
    assert sorted(Counting.asked) == [0, 1, 2]
    Path("facts.jsonl").rename("cities.jsonl")
    write_facts(Path("facts.jsonl"), KINDS[:2])
    Counting.asked = []
    code, output = mine("cities.jsonl", "--records", "kept", out="other.jsonl")
    assert code == 0, output
    assert sorted(Counting.asked) == [3, 4, 5, 6]
    assert sources("other.jsonl") == ["facts:0001", *("cities:000" + one[-1] for one in HARD)]
    assert not Path("other.sweep").exists()


def test_shards_and_then_the_collection_make_what_the_whole_makes(mine: Callable[..., tuple[int, str]]) -> None:
    mine(out="whole.jsonl")
    Counting.asked = []
    code, output = mine("--shard", "2/2")
    assert code == 0, output
    assert Counting.asked == [1, 3, 5]
    assert "of shard 2/2 collapse a model; after all shards run this with --collect" in output
    assert not Path("hard.jsonl").exists()
    code, output = mine("--collect")
    assert code == 0
    assert sources() == HARD[:1]
    assert "5 of 7 edits have no record yet" in output
    mine("--shard", "1/2")
    assert sorted(Counting.asked) == list(range(7))
    Counting.asked = []

    code, output = mine("--collect")

    assert code == 0
    assert Counting.asked == []
    assert "loading" not in output
    assert "1 of 7 edits" in output  # the error
    assert Path("hard.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()


def test_only_the_riskiest_are_edited(mine: Callable[..., tuple[int, str]]) -> None:
    code, output = mine("--riskiest", "3", editor=f"{Knowing.__module__}:Knowing")
    assert code == 0, output
    assert Counting.asked == [4, 2, 1]
    assert sources() == ["facts:0004", "facts:0002", "facts:0001"]


def test_a_native_editor_leaves_its_numbers(mine: Callable[..., tuple[int, str]]) -> None:
    more = ("--set", "rome.steps=2", "--edits-sample", "2", "--seed", "5", "--ppl-limit", "475.5")
    code, output = mine(*more, editor="rome")
    assert code == 0, output
    assert "2 edits to make" in output
    for record in written():
        assert record["rome_tiny-gpt2_ppl"] >= 475.5
        assert {"denominator", "update_norm_ratio"} <= record["diagnostics"]["rome_tiny-gpt2"].keys()
    code, output = mine(*more, "--set", "rome.steps=3", editor="rome")
    assert "2 records are left alone, as rome had other hyper-parameters" in output
    assert "2 edits to make, 0 there already" in output


@pytest.mark.parametrize("shard", [(), ("--shard", "1/2")])
def test_where_no_edit_can_be_made_the_command_fails_and_writes_nothing(
    mine: Callable[..., tuple[int, str]], shard: tuple[str, ...]
) -> None:
    write_facts(Path("facts.jsonl"), ["raises"] * 3)
    Path("hard.jsonl").write_text("from before\n", "ascii")
    code, output = mine(*shard)
    assert code == 1
    assert "edits ended in an error; the first, facts:0000: counting raised ValueError: not this one" in output
    assert Path("hard.jsonl").read_text("ascii") == "from before\n"


def test_where_nothing_collapses_the_file_is_empty(mine: Callable[..., tuple[int, str]]) -> None:
    code, output = mine("--ppl-limit", "1e300", "--edits-limit", "2")
    assert code == 0, output
    assert Path("hard.jsonl").read_bytes() == b""
    assert "0 requests that collapse a model are in hard.jsonl" in output


def test_an_empty_shard_is_no_error(mine: Callable[..., tuple[int, str]]) -> None:
    code, output = mine("--shard", "9/9")
    assert code == 0, output
    assert "0 requests of shard 9/9" in output


def test_a_model_that_fails_its_own_gate_is_named(mine: Callable[..., tuple[int, str]]) -> None:
    code, output = mine("--ppl-limit", "100")
    assert code == 1
    assert "--ppl-limit 100" in output
    assert Counting.asked == []


# Wrong input --------------------------------------------------------------------------------------------------


def test_help_and_wrong_names_import_no_framework() -> None:
    code = (
        "import sys\n"
        "from collapse_tests.data_tool.main import app\n"
        "for words in (['mine', '--help'], ['rank', '--help'], ['mine', 'none.json', '--out', 'x.jsonl'],\n"
        "              ['mine', 'hard', '--out', 'x.jsonl', '--editor', 'romee'],\n"
        "              ['rank', 'hard', '--model', 'smol'], ['rank', 'hard', '--outcomes', 'none']):\n"
        "    print(app(words, standalone_mode=False))\n"
        "print(sorted({'torch', 'transformers', 'lm_eval', 'scipy', 'datasets'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[-1] == "[]"
    assert lines.count("2") == 4
    assert "--shard" in done.stdout
    assert "--outcomes" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--editor", "romee"), "did you mean 'rome'"),
        (("--editor", "rome,"), "--editor: 'rome,' has an empty name"),
        (("--editor", "tests.nothing:Here"), "there is no module 'tests.nothing'"),
        (("--model", "gpt2xl"), "did you mean 'gpt2-xl'"),
        (("--model", "cache"), "--model 'cache' has no config.json"),
        (("--ppl-texts", "none.txt"), "--ppl-texts 'none.txt'"),
        (("--ppl-texts", ""), "--ppl-texts: '' is empty"),
        (("--ppl-limit", "0"), "--ppl-limit: '0'"),
        (("--ppl-limit", "nan"), "--ppl-limit: 'nan'"),
        (("--device-map", "auto", "--device", "cpu"), "--device cpu is one device"),
        (("--shard", "3/2"), "--shard: '3/2' is no shard; give i/n with i from 1 to n"),
        (("--shard", "0/2"), "--shard: '0/2' is no shard"),
        (("--riskiest", "0"), "--riskiest: '0' is no positive whole number"),
        (("--riskiest", "many"), "--riskiest: 'many' is no positive whole number"),
        (("--collect", "--shard", "1/2"), "--collect edits nothing, so leave --shard and --riskiest out"),
        (("--collect", "--riskiest", "5"), "--collect edits nothing, so leave --shard and --riskiest out"),
        (("--collect",), "--records 'hard.sweep' has no records of these requests made with these settings; name"),
        (("--collect", "--records", "cache"), "--records 'cache' has no records of these requests"),
        (("--records", ""), "--records: '' is empty"),
        (("--records", "facts.jsonl"), "--records 'facts.jsonl' is no directory; give one"),
        (("--out", "hard.json"), "--out 'hard.json' has no suffix that --edits takes for JSON lines; end it in .jsonl"),
        (("--out", "hard"), "end it in .jsonl"),
        (("--out", "no/such/hard.jsonl"), "there is no directory 'no/such'; make it first"),
        (("--out", "cache"), "--out 'cache' is a directory"),
        (("--out", "/"), "--out '/' is a directory"),
        (("--out", "."), "--out '.' is a directory"),
        (("--out", ""), "--out: '' is empty"),
        (("--set", "ft.steps=3"), "--set ft.steps: the editor here is rome; name that"),
        (("--set", "rome.stepz=3"), "--set rome.stepz"),
        (("--set", "rome.steps=0"), "--set rome.steps=0"),
        (("--edits-limit", "0"), "--edits-limit: '0'"),
        (("--edits-sample", "-1"), "--edits-sample: '-1'"),
        (("--device", "tpu"), "--device: 'tpu' is no device"),
        (("--dtype", "int8"), "--dtype: 'int8' is no dtype"),
        (("--batch-size", "0"), "--batch-size: '0'"),
        (("--seed", "x"), "--seed: 'x'"),
        (("none.jsonl",), "--edits 'none.jsonl'"),
        (("counterfackt",), "did you mean 'counterfact'"),
        (("empty.jsonl",), "--edits 'empty.jsonl' holds no records"),
        (("blank.json",), "--edits 'blank.json' holds no records"),
        (("broken.jsonl",), "--edits 'broken.jsonl', line 1"),
        (("broken.jsonl", "--skip-broken"), "--edits 'broken.jsonl' holds no usable record"),
        (("me-ppl-50",), "is a set of sentences, not of requests"),
    ],
)
def test_wrong_input_is_named_before_any_model_is_loaded(
    arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*given: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("collapse_tests.engine.gate.load_model", never)
    for name, text in {"empty.jsonl": "", "blank.json": "[]", "broken.jsonl": '{"prompt": "A cat"}\n'}.items():
        Path(name).write_text(text, "ascii")
    Path("cache").mkdir(exist_ok=True)
    code, output = data("mine", "facts.jsonl", "--out", "hard.jsonl", "--ppl-texts", "texts.json", *arguments)
    assert code == 2
    assert message in output
    assert not Path("hard.jsonl").exists()


def test_records_that_are_damaged_are_named_before_any_model_is_loaded(mine: Callable[..., tuple[int, str]]) -> None:
    mine("--edits-limit", "2")
    (file,) = Path("hard.sweep").glob("*/records.jsonl")
    file.write_text("{no json}\n", "ascii")
    for more in ((), ("--collect",)):
        code, output = mine("--edits-limit", "2", *more)
        assert code == 2
        assert f"{file}:1: not a record" in output
        assert "loading" not in output


def test_out_and_requests_have_to_be_given() -> None:
    assert data("mine", "facts.jsonl")[0] == 2
    assert data("mine", "--out", "hard.jsonl")[0] == 2
