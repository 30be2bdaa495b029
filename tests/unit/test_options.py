"""Options on the command line and in ini files, through pytest's own parser."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from collapse_tests.errors import UsageError
from collapse_tests.options import add_options, settings_from
from collapse_tests.settings import Downstream, Override, Settings
from collapse_tests.shards import Shard

RECORD = {"prompt": "Oslo is in", "subject": "Oslo", "target_new": "Peru", "ground_truth": "Norway"}


class _Host:
    """Registers the options as the plugin does."""

    def pytest_addoption(self, parser: pytest.Parser) -> None:
        add_options(parser)


def parse(pytester: pytest.Pytester, *args: str) -> Settings | None:
    pytester.plugins = [_Host()]
    return settings_from(pytester.parseconfig("-p", "no:collapse", *args))


def settings(pytester: pytest.Pytester, *args: str) -> Settings:
    parsed = parse(pytester, "--editor", "rome", *args)
    assert parsed is not None
    return parsed


def test_without_an_editor_there_are_no_settings(pytester: pytest.Pytester) -> None:
    assert parse(pytester, "--model", "gpt2-xl", "--seed", "3") is None


def test_an_ini_file_of_bad_values_is_ignored_without_an_editor(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\ncollapse_seed = red\ncollapse_fail_ineffective = perhaps\n")

    assert parse(pytester) is None


def test_defaults_are_those_of_settings(pytester: pytest.Pytester) -> None:
    assert settings(pytester) == Settings(editors=("rome",))


def test_every_option_reaches_its_field(pytester: pytest.Pytester, own_network: None) -> None:
    edits = pytester.path / "facts.json"
    edits.write_text(json.dumps([RECORD]))
    texts = pytester.path / "texts.txt"
    texts.write_text("One sentence.\n")
    config = pytester.path / "rome.yaml"
    config.write_text("steps: 3\n")

    parsed = settings(
        pytester,
        *("--model", "gpt2-xl", "--edits", str(edits), "--edits-limit", "5", "--edits-sample", "9"),
        *("--riskiest", "3"),
        *("--ppl-limit", "1.5e3", "--ppl-texts", str(texts), "--device", "cuda", "--dtype", "bfloat16"),
        *("--device-map", "auto", "--matmul-precision", "tf32"),
        *("--seed", "7", "--batch-size", "16", "--fail-ineffective", "--reports-dir", "out/here"),
        *("--set", "rome.learning_rate=0.25", "--set", "rome.context_lengths=[[5, 1]]"),
        *("--editor-config", str(config)),
        *("--tasks", "collapse_completion", "--tasks-limit", "40", "--tasks-data", str(pytester.path)),
        *("--downstream", "suspect", "--suspect-growth", "2.5", "--gate-on-drop"),
        *("--scenario", "hard", "--steps", "6", "--full-curve"),
        *("--gpus-per-worker", "2", "--retries", "0"),
        *("--ray", "10.0.0.1:6379", "--ray-cpus", "3", "--ray-wait", "7.5"),
        *("--machine", "normal", "--machine-steps", "4", "--machine-examples", "3", "--machine-budget", "60"),
        *("--resume", "runs", "--gitlab-code-quality", "quality.json"),
        *("--baseline", "b.json", "--update-baseline", "--baseline-tolerance", "1.2"),
        *(
            "--skip-broken",
            "--no-html",
            "--offline",
            "--mirror",
            "http://a.example/x/,https://b.example",
            "--mirror",
            "http://c",
        ),
    )

    assert parsed == Settings(
        editors=("rome",),
        models=("gpt2-xl",),
        edits=(str(edits),),
        edits_limit=5,
        edits_sample=9,
        riskiest=3,
        ppl_limit=1500.0,
        ppl_texts=str(texts),
        device="cuda",
        device_map="auto",
        dtype="bfloat16",
        matmul_precision="tf32",
        gpus_per_worker=2,
        retries=0,
        seed=7,
        batch_size=16,
        tasks=("collapse_completion",),
        tasks_limit=40,
        tasks_data=pytester.path,
        downstream=Downstream.SUSPECT,
        suspect_growth=2.5,
        gate_on_drop=True,
        scenarios=("hard",),
        steps=6,
        full_curve=True,
        machines=("normal",),
        machine_steps=4,
        machine_examples=3,
        machine_budget=60.0,
        fail_ineffective=True,
        skip_broken=True,
        html=False,
        offline=True,
        mirrors=("http://a.example/x", "https://b.example", "http://c"),
        reports_dir=Path("out/here"),
        resume=Path("runs"),
        gitlab_code_quality=Path("quality.json"),
        baseline=Path("b.json"),
        ray="10.0.0.1:6379",
        ray_cpus=3,
        ray_wait=7.5,
        baseline_tolerance=1.2,
        update_baseline=True,
        overrides=(
            Override("rome", "steps", 3, f"--editor-config {config}"),
            Override("rome", "learning_rate", 0.25),
            Override("rome", "context_lengths", [[5, 1]]),
        ),
    )
    untouched = [field.name for field in dataclasses.fields(parsed) if getattr(parsed, field.name) == field.default]
    assert set(untouched) <= {"shard"}  # which goes with no baseline to be written


def test_a_shard_is_part_of_no_new_baseline(pytester: pytest.Pytester) -> None:
    assert settings(pytester, "--shard", "2/8").shard == Shard(2, 8)
    assert settings(pytester, "--shard", "2/8", "--baseline", "b.json").shard == Shard(2, 8)
    with pytest.raises(UsageError, match=r"--update-baseline with --shard 2/8: .*; merge their runs with"):
        settings(pytester, "--shard", "2/8", "--baseline", "b.json", "--update-baseline")


def test_names_repeat_split_at_commas_and_lose_duplicates(pytester: pytest.Pytester) -> None:
    parsed = settings(
        pytester, "--editor", "r-rome, rome", "--model", "gpt2-xl,llama2-7b", "--model=gpt2-xl", "--edits=hard,smoke"
    )

    assert parsed.editors == ("rome", "r-rome")
    assert parsed.models == ("gpt2-xl", "llama2-7b")
    assert parsed.edits == ("hard", "smoke")


def test_a_file_name_may_hold_a_comma(pytester: pytest.Pytester) -> None:
    edits = pytester.path / "a,b.json"
    edits.write_text(json.dumps([RECORD]))

    assert settings(pytester, "--edits", str(edits)).edits == (str(edits),)


def test_a_long_comma_list_is_no_file_name(pytester: pytest.Pytester) -> None:
    names = ",".join(f"org/model-number-{index}" for index in range(500))

    assert len(settings(pytester, "--model", names).models) == 500


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("--tf32",), "tf32"),
        (("--no-tf32",), "float32"),
        (("--tf32", "--no-tf32"), "float32"),
        (("--no-tf32", "--matmul-precision", "bfloat16"), "bfloat16"),
        (("--matmul-precision", "bfloat16", "--tf32"), "tf32"),
    ],
)
def test_the_last_precision_wins(pytester: pytest.Pytester, args: tuple[str, ...], expected: str) -> None:
    pytester.makeini("[pytest]\ncollapse_matmul_precision = auto\n")

    assert settings(pytester, *args).matmul_precision == expected


INI = """\
collapse_editor =
    c-rome, rome
    r-rome
collapse_model = gpt2-xl
collapse_edits = hard
collapse_ppl_limit = 500
collapse_device = cpu
collapse_dtype = float16
collapse_matmul_precision = tf32
collapse_seed = 11
collapse_batch_size = 4
collapse_fail_ineffective = yes
collapse_reports_dir = out
"""


def test_options_come_from_the_ini_file(pytester: pytest.Pytester) -> None:
    pytester.makeini(f"[pytest]\n{INI}")

    assert parse(pytester) == Settings(
        editors=("c-rome", "rome", "r-rome"),
        models=("gpt2-xl",),
        edits=("hard",),
        ppl_limit=500.0,
        device="cpu",
        dtype="float16",
        matmul_precision="tf32",
        seed=11,
        batch_size=4,
        fail_ineffective=True,
        reports_dir=pytester.path / "out",
    )


def test_the_command_line_wins_over_the_ini_file(pytester: pytest.Pytester) -> None:
    pytester.makeini(f"[pytest]\n{INI}")

    parsed = settings(
        pytester,
        *("--model=llama2-7b", "--edits=normal", "--ppl-limit=7", "--device=auto", "--dtype=float64", "--no-tf32"),
        *("--seed=0", "--batch-size=auto", "--reports-dir=mine"),
    )

    assert parsed == Settings(
        editors=("rome",),
        models=("llama2-7b",),
        edits=("normal",),
        ppl_limit=7.0,
        dtype="float64",
        matmul_precision="float32",
        fail_ineffective=True,
        reports_dir=Path("mine"),
    )


@pytest.mark.skipif(pytest.version_tuple < (9, 2), reason="older pytest reads these from strings alone")
def test_native_toml_takes_numbers_and_lists(pytester: pytest.Pytester) -> None:
    pytester.makepyprojecttoml(
        """
        [tool.pytest]
        collapse_editor = ["rome"]
        collapse_ppl_limit = 250.5
        collapse_seed = 3
        collapse_batch_size = "auto"
        collapse_matmul_precision = "tf32"
        """
    )

    assert parse(pytester) == Settings(editors=("rome",), ppl_limit=250.5, seed=3, matmul_precision="tf32")


def test_paths_in_an_ini_file_are_relative_to_it(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = pytester.path / "data" / "facts.jsonl"
    facts.parent.mkdir()
    facts.write_text(json.dumps(RECORD))
    (pytester.path / "hard").mkdir()  # a known name wins over a directory that happens to be there
    pytester.makeini("[pytest]\ncollapse_editor = rome\ncollapse_edits = data/facts.jsonl, hard\n")
    below = pytester.mkdir("below")
    monkeypatch.chdir(below)

    parsed = parse(pytester, "--rootdir", str(pytester.path), "-c", str(pytester.path / "tox.ini"))

    assert parsed is not None
    assert parsed.edits == (str(facts), "hard")


@pytest.mark.parametrize(
    ("flag", "value", "remedy"),
    [
        ("--ppl-limit", "much", "such as 1000"),
        ("--ppl-limit", "inf", "positive finite"),
        ("--ppl-limit", "nan", "positive finite"),
        ("--ppl-limit", "0", "positive finite"),
        ("--ppl-limit", "-5", "positive finite"),
        ("--baseline-tolerance", "1", "a factor such as 1.05"),
        ("--baseline-tolerance", "nan", "a factor such as 1.05"),
        ("--seed", "-1", "from 0 to 4294967295"),
        ("--seed", "4294967296", "from 0 to 4294967295"),
        ("--seed", "1.5", "from 0 to 4294967295"),
        ("--batch-size", "0", "give auto, or 1 or more"),
        ("--batch-size", "all", "give auto, or 1 or more"),
        ("--device", "gpu", "cuda:1"),
        ("--device", "cuda:", "cuda:1"),
        ("--device-map", "balanced", "none, auto"),
        ("--dtype", "int8", "float32, bfloat16, float16, float64"),
        ("--matmul-precision", "fp8", "auto, float32, tf32, bfloat16"),
        ("--ppl-texts", " ", "give a path"),
        ("--reports-dir", "", "give a path"),
        ("--editor", "rome,", "single commas"),
        ("--downstream", "sometimes", "auto, each, suspect, final, never"),
        ("--suspect-growth", "1", "a factor such as 1.5"),
        ("--suspect-growth", "nan", "a factor such as 1.5"),
        ("--tasks", "piqa,", "single commas"),
        ("--tasks-limit", "0", "give 1 or more"),
        ("--tasks-data", " ", "give a path"),
        ("--machine-steps", "0", "give 1 or more"),
        ("--machine-examples", "few", "give 1 or more"),
        ("--machine-budget", "0", "seconds such as 600"),
        ("--gpus-per-worker", "0", "give 1 or more"),
        ("--ray", "head", "give auto, or host:port"),
        ("--ray", "ray://head:10001", "give auto"),
        ("--ray-cpus", "0", "give 1 or more"),
        ("--ray-wait", "0", "give seconds such as 600"),
        ("--retries", "-1", "give 0 or more"),
        ("--retries", "1.5", "give 0 or more"),
    ],
)
def test_a_bad_value_is_named_with_its_remedy(pytester: pytest.Pytester, flag: str, value: str, remedy: str) -> None:
    with pytest.raises(pytest.UsageError) as on_command_line:
        settings(pytester, f"{flag}={value}")
    name = f"collapse_{flag.removeprefix('--').replace('-', '_')}"
    pytester.makepyprojecttoml(f'[tool.pytest.ini_options]\n{name} = "{value}"\n')
    with pytest.raises(pytest.UsageError) as in_ini_file:
        parse(pytester) if flag == "--editor" else settings(pytester)

    for thing, message in ((flag, str(on_command_line.value)), (name, str(in_ini_file.value))):
        assert thing in message
        assert repr(value) in message
        assert remedy in message


def test_a_device_map_does_not_go_with_one_device(pytester: pytest.Pytester) -> None:
    assert settings(pytester, "--device-map=auto", "--device=cuda").device_map == "auto"
    pytester.makeini("[pytest]\ncollapse_device_map = auto\n")
    assert settings(pytester).device_map == "auto"
    with pytest.raises(UsageError, match=r"--device-map auto.*--device cuda:1 is one device"):
        settings(pytester, "--device=cuda:1")


@pytest.mark.parametrize("flag", ["--edits-limit", "--edits-sample", "--riskiest"])
@pytest.mark.parametrize("value", ["0", "-3", "few", "1.5"])
def test_counts_are_positive_whole_numbers(pytester: pytest.Pytester, flag: str, value: str) -> None:
    with pytest.raises(pytest.UsageError, match=f"{flag}: '{value}' is no positive whole number; give 1 or more"):
        settings(pytester, f"{flag}={value}")


def test_task_data_is_looked_for_before_a_model_is_loaded(pytester: pytest.Pytester) -> None:
    with pytest.raises(UsageError, match=r"has no file of the task 'piqa'; put piqa\.jsonl there"):
        settings(pytester, "--tasks", "piqa", f"--tasks-data={pytester.path}")
    with pytest.raises(UsageError, match="is no directory"):
        settings(pytester, "--tasks", "piqa", "--tasks-data=nowhere")
    assert settings(pytester, f"--tasks-data={pytester.path}").tasks_data == pytester.path  # no task needs it
    # What a group consists of is seen when it is loaded.
    assert settings(pytester, "--tasks=mmlu_stem", f"--tasks-data={pytester.path}").tasks == ("mmlu_stem",)


def test_a_bad_boolean_in_the_ini_file_is_a_usage_error(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\ncollapse_fail_ineffective = perhaps\n")

    with pytest.raises(pytest.UsageError, match="perhaps"):
        settings(pytester)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rome.learning_rate=0.5", Override("rome", "learning_rate", 0.5)),
        ("rome.learning_rate=5e-4", Override("rome", "learning_rate", 0.0005)),
        ("c-rome.context_lengths=[[3, 4]]", Override("c-rome", "context_lengths", [[3, 4]])),
        ("rome.second_moment=a=b", Override("rome", "second_moment", "a=b")),
        ("rome.second_moment='5e-4'", Override("rome", "second_moment", "5e-4")),
        ("rome.block=null", Override("rome", "block", None)),
        (f"{__name__}:takes_options.flag=true", Override(f"{__name__}:takes_options", "flag", True)),
        (f"{__name__}:takes_options.x={{a: [1E3]}}", Override(f"{__name__}:takes_options", "x", {"a": [1000.0]})),
    ],
)
def test_overrides_are_read_as_yaml(pytester: pytest.Pytester, text: str, expected: Override) -> None:
    assert settings(pytester, "--editor", expected.editor, "--set", text).overrides == (expected,)


def takes_options(model: object, tokenizer: object, request: object, config: object) -> None:
    """An in-place editor with any options."""


def test_an_override_of_an_editor_that_does_not_run_is_refused(pytester: pytest.Pytester) -> None:
    with pytest.raises(UsageError, match=r"--set c-rome.block: no editor 'c-rome' in this run; it has rome"):
        settings(pytester, "--set=c-rome.block=1")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set=rome.stepz=3"], r"^--set rome\.stepz: rome has no such field; it has block, steps,"),
        (["--set=rome.steps=many"], r"^--set rome\.steps=many: Input should be a valid integer"),
        (["--editor-config=bad.yaml"], r"^--editor-config bad\.yaml: rome\.stepz: rome has no such field; it has"),
        (["--model=gpt2-xl,llama2-7b", "--set=rome.block=-1"], r"^--set rome\.block=-1: Input should be greater"),
    ],
)
def test_hyperparameters_are_checked_at_once(pytester: pytest.Pytester, words: list[str], message: str) -> None:
    (pytester.path / "bad.yaml").write_text("stepz: 3")

    with pytest.raises(UsageError, match=message):
        settings(pytester, *words)


def test_collecting_alone_checks_no_hyperparameters(pytester: pytest.Pytester) -> None:
    assert settings(pytester, "--collect-only", "--set=rome.stepz=3").overrides == (Override("rome", "stepz", 3),)


def configured(pytester: pytest.Pytester, text: str, *args: str, name: str = "rome.yaml") -> tuple[Override, ...]:
    """The overrides of a run with a file of that text."""
    (pytester.path / name).write_text(text, encoding="utf-8")
    return settings(pytester, *args).overrides


def test_a_file_of_hyperparameters(pytester: pytest.Pytester) -> None:
    text = "# Ours.\nsteps: 3\nlearning_rate: 5e-4\ncontext_lengths: [[5, 1]]\nsecond_moment: '5e-4'\n"
    source = "--editor-config rome.yaml"
    expected = {"steps": 3, "learning_rate": 0.0005, "context_lengths": [[5, 1]], "second_moment": "5e-4"}

    overrides = configured(pytester, text, "--editor-config", "rome.yaml")

    assert overrides == tuple(Override("rome", field, value, source) for field, value in expected.items())


def test_what_is_set_comes_after_what_a_file_says(pytester: pytest.Pytester) -> None:
    (pytester.path / "more.yaml").write_text("steps: 4")

    overrides = configured(
        pytester, "steps: 3", "--set=rome.steps=5", "--editor-config=rome.yaml", "--editor-config=rome=more.yaml"
    )

    assert [override.value for override in overrides] == [3, 4, 5]


def test_a_file_may_say_whose_it_is(pytester: pytest.Pytester) -> None:
    (override,) = configured(pytester, "steps: 3", "--editor=c-rome", "--editor-config=c-rome=rome.yaml")

    assert override == Override("c-rome", "steps", 3, "--editor-config rome.yaml")


def test_a_file_name_may_hold_an_equals_sign(pytester: pytest.Pytester) -> None:
    (override,) = configured(pytester, "steps: 3", "--editor-config=lr=0.5.yaml", name="lr=0.5.yaml")

    assert override == Override("rome", "steps", 3, "--editor-config lr=0.5.yaml")


def test_an_empty_file_gives_nothing(pytester: pytest.Pytester) -> None:
    assert configured(pytester, "# nothing yet\n", "--editor-config=rome.yaml") == ()


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("steps: 3", ["--editor-config=no.yaml"], "--editor-config no.yaml: there is no such file; give the path of"),
        ("steps: 3", ["--editor-config=."], "--editor-config . cannot be read (*"),
        ("steps: [3", ["--editor-config=rome.yaml"], "--editor-config rome.yaml is not YAML (*line 1*); correct it"),
        ("a: !!python/name:os.system x", ["--editor-config=rome.yaml"], "--editor-config rome.yaml is not YAML (*"),
        ("- steps", ["--editor-config=rome.yaml"], "--editor-config rome.yaml holds a list, not a mapping; write one"),
        ("3: 4", ["--editor-config=rome.yaml"], "--editor-config rome.yaml: 3 is no name of a field; write"),
        (
            "steps: 3",
            ["--editor-config=memit=rome.yaml"],
            "--editor-config rome.yaml: no editor 'memit' in this run; it has rome",
        ),
        (
            "steps: 3",
            ["--editor=c-rome", "--editor-config=rome.yaml"],
            "--editor-config rome.yaml does not say for which of rome, c-rome it is; give EDITOR=rome.yaml, for ex",
        ),
    ],
)
def test_a_file_of_no_use_is_refused(pytester: pytest.Pytester, text: str, words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        configured(pytester, text, *words)
    assert fnmatch(str(caught.value), message.replace("[", "[[]") + "*")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_utf8_is_refused(pytester: pytest.Pytester) -> None:
    (pytester.path / "rome.yaml").write_bytes(b"steps: \xff")

    with pytest.raises(UsageError, match=r"^--editor-config rome\.yaml is not UTF-8; save it as UTF-8$"):
        settings(pytester, "--editor-config=rome.yaml")


@pytest.mark.parametrize("text", ["=rome.yaml", "rome=", " = "])
def test_a_file_option_of_another_form_is_refused(pytester: pytest.Pytester, text: str) -> None:
    with pytest.raises(pytest.UsageError, match=r"--editor-config: .* is not of the form \[EDITOR=\]FILE; give"):
        settings(pytester, f"--editor-config={text}")


@pytest.mark.parametrize("text", ["rome", "rome.v_lr", "v_lr=1", "rome.=1", ".v_lr=1", "rome.v_lr=", "rome.1x=2"])
def test_an_override_of_another_form_is_refused(pytester: pytest.Pytester, text: str) -> None:
    with pytest.raises(pytest.UsageError, match=r"--set: .* is not of the form EDITOR.FIELD=VALUE"):
        settings(pytester, f"--set={text}")


def test_an_override_that_is_no_yaml_is_refused(pytester: pytest.Pytester) -> None:
    with pytest.raises(pytest.UsageError, match=r"--set: 'rome.layers=\[1' has a value that is not YAML"):
        settings(pytester, "--set=rome.layers=[1")


@pytest.mark.parametrize(
    ("args", "thing"),
    [
        (("--editor", "roem"), "roem"),
        (("--model", "gpt2-xxl"), "gpt2-xxl"),
        (("--edits", "smok"), "smok"),
        (("--ppl-texts", "nowhere.json"), "nowhere.json"),
        (("--reports-dir", "taken"), "taken"),
    ],
)
def test_unusable_names_and_files_are_found_at_once(
    pytester: pytest.Pytester, args: tuple[str, ...], thing: str
) -> None:
    (pytester.path / "taken").write_text("a file")

    with pytest.raises(UsageError, match=rf"{args[0]} '{thing}'"):
        settings(pytester, *args)


def test_the_help_has_one_group_with_every_option(pytester: pytest.Pytester) -> None:
    pytester.plugins = [_Host()]
    parser = pytester.parseconfig("-p", "no:collapse")._parser
    text = parser.optparser.format_help()

    group = text[text.index("\ncollapse:\n") :]
    flags = ["--editor", "--model", "--edits", "--edits-limit", "--edits-sample", "--ppl-limit", "--ppl-texts"]
    flags += [
        "--device",
        "--device-map",
        "--dtype",
        "--seed",
        "--batch-size",
        "--reports-dir",
        "--editor-config",
        "--set",
        "--matmul-precision",
        "--tf32",
        "--no-tf32",
    ]
    for flag in [*flags, "--fail-ineffective"]:
        assert f"  {flag}" in group
    assert text.count("\ncollapse:\n") == 1


def test_a_name_taken_by_another_plugin_gives_way(pytester: pytest.Pytester) -> None:
    class Other:
        @pytest.hookimpl(tryfirst=True)
        def pytest_addoption(self, parser: pytest.Parser) -> None:
            parser.addoption("--seed", default="theirs")

    pytester.plugins = [Other(), _Host()]
    config = pytester.parseconfig("-p", "no:collapse", "--editor=rome", "--seed=red", "--collapse-seed=5")

    parsed = settings_from(config)
    assert config.getoption("seed") == "red"
    assert parsed is not None
    assert parsed.seed == 5


def test_nothing_heavy_is_imported() -> None:
    heavy = ["torch", "transformers", "pydantic", "numpy", "rich", "yaml", "xdist"]
    code = (
        "import sys, collapse_tests.options, collapse_tests.cases, collapse_tests.scheduling\n"
        "from collapse_tests.settings import Settings\n"
        "from collapse_tests.datasets.texts import load_texts\n"
        "collapse_tests.cases.expand_cases(Settings(editors=('rome',)))\n"
        "load_texts('default')\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
