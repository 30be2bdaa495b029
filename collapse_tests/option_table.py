"""Every option: its name, its help, and what makes a value of its text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from collapse_tests.network import parse_mirrors
from collapse_tests.option_values import (
    AUTO,
    DEVICE_MAPS,
    DTYPES,
    MATMUL_PRECISIONS,
    parse_batch_size,
    parse_device,
    parse_device_map,
    parse_downstream,
    parse_dtype,
    parse_growth,
    parse_matmul_precision,
    parse_names,
    parse_path,
    parse_positive_integer,
    parse_ppl_limit,
    parse_ray_address,
    parse_seconds,
    parse_seed,
    parse_tolerance,
    parse_whole_number,
)
from collapse_tests.override_values import parse_config_file, parse_overrides
from collapse_tests.settings import (
    DEFAULT_BASELINE_TOLERANCE,
    DEFAULT_EDITS,
    DEFAULT_MACHINE_BUDGET,
    DEFAULT_MACHINE_EXAMPLES,
    DEFAULT_MACHINE_STEPS,
    DEFAULT_MODEL,
    DEFAULT_PPL_LIMIT,
    DEFAULT_RAY_WAIT,
    DEFAULT_RETRIES,
    DEFAULT_SUSPECT_GROWTH,
)
from collapse_tests.shards import parse_shard

__all__ = ["EDITOR", "FLAGS", "OPTIONS", "Option"]


@dataclass(frozen=True, slots=True)
class Option:
    """One option that takes a value.

    Attributes:
        name: without dashes; `ppl-limit` is `--ppl-limit` and the ini option `collapse_ppl_limit`.
        help: for `pytest --help`.
        parse: text → value, or a list of values if it repeats; raises `UsageError` saying what is wrong and what
            to give.
        metavar: for `pytest --help`.
        repeats: whether it collects the values of several uses.
        ini: whether it is an ini option too.
        paths: whether it may name a file, so that one from the ini file is relative to that file.
    """

    name: str
    help: str
    parse: Callable[[str], Any]
    metavar: str
    repeats: bool = False
    ini: bool = True
    paths: bool = False

    @property
    def flag(self) -> str:
        """As on the command line."""
        return f"--{self.name}"

    @property
    def dest(self) -> str:
        """Its name in the parsed options and the ini file, prefixed so that no other plugin's is the same."""
        return f"collapse_{self.name.replace('-', '_')}"


EDITOR = Option(
    "editor",
    "Gate this editor: rome, r-rome, c-rome, memit, emmet, alphaedit, ft, ft-unconstrained, mend, null, noise, "
    "easyedit:ALGORITHM, an entry point, or package.module:attribute. "
    "Repeat, or separate by commas, for several. Without it the gate is off.",
    parse_names,
    "NAME",
    repeats=True,
)

OPTIONS = (
    EDITOR,
    Option(
        "model",
        "Edit this model: smollm2-135m, gpt2-xl, gpt-j-6b, llama2-7b, a local directory, or a hub id org/name. "
        f"Repeats like --editor. Default: {DEFAULT_MODEL}.",
        parse_names,
        "NAME",
        repeats=True,
        paths=True,
    ),
    Option(
        "edits",
        "Write these facts: smoke, hard, normal, hardedit-smollm2; counterfact, zsre, hardcf, hardedit, which are "
        "published sets and fetched once; or a JSON or JSONL file in EasyEdit's, COUNTERFACT's or ZsRE's layout. "
        f"Repeats like --editor. Default: {DEFAULT_EDITS}, which is 8 hard and 8 normal ones.",
        parse_names,
        "SET",
        repeats=True,
        paths=True,
    ),
    Option("edits-limit", "Take at most the first N of each set.", parse_positive_integer, "N", ini=False),
    Option("edits-sample", "Draw N of each set, by --seed, before any limit.", parse_positive_integer, "N", ini=False),
    Option(
        "riskiest",
        "Of these, make the N edits that the unedited model says are likeliest to collapse it, those first.",
        parse_positive_integer,
        "N",
        ini=False,
    ),
    Option(
        "shard",
        "Take only the i-th of n parts of all tests, the same on every machine, for arrays of jobs; "
        "collapse-report merge makes one run of theirs.",
        parse_shard,
        "i/n",
        ini=False,
    ),
    Option(
        "ppl-limit",
        f"Call a model collapsed at this ME-PPL or above. Default: {DEFAULT_PPL_LIMIT:g}.",
        parse_ppl_limit,
        "X",
    ),
    Option(
        "ppl-texts",
        "Measure ME-PPL on these sentences: a JSON list, a text file of one sentence a line, or the study's own, "
        "me-ppl-50, me-ppl-1k or me-ppl, fetched once. "
        "Default: the 50 that come with the plugin, and for --scenario its 1,000, which is default-1k.",
        parse_path,
        "FILE",
        paths=True,
    ),
    Option(
        "tasks",
        "Measure accuracy on these tasks: default, which is three small ones that come with the plugin; hellaswag, "
        "piqa, lambada, mmlu_sub, nq_open, squadv2 as in the study; or any task of lm-eval. Repeats like --editor.",
        parse_names,
        "NAME",
        repeats=True,
    ),
    Option("tasks-limit", "Take at most the first N items of each task.", parse_positive_integer, "N"),
    Option(
        "tasks-data",
        "Read the data of tasks from this directory, TASK.jsonl each, instead of fetching it.",
        parse_path,
        "DIR",
        paths=True,
    ),
    Option(
        "downstream",
        "Measure tasks after each edit, after a suspect one, at the end of a sequence (final), or never. "
        "Default: auto, which is each on the plugin's own tasks and suspect on all others.",
        parse_downstream,
        "WHEN",
    ),
    Option(
        "suspect-growth",
        "An edit is suspect from this factor of ME-PPL over the unedited model's. "
        f"Default: {DEFAULT_SUSPECT_GROWTH:g}.",
        parse_growth,
        "X",
    ),
    Option(
        "scenario",
        "Make these edits one after the other on the same weights: smoke, hard, normal, or a file as for --edits. "
        "One test each; repeats like --editor. Single edits are then tested only if --edits asks for them.",
        parse_names,
        "SET",
        repeats=True,
        ini=False,
        paths=True,
    ),
    Option("steps", "Make at most the first N edits of each scenario.", parse_positive_integer, "N", ini=False),
    Option(
        "machine",
        "Search for the smallest sequence of edits that collapses the model, among the requests of this set or file. "
        "Repeats like --scenario.",
        parse_names,
        "SET",
        repeats=True,
        ini=False,
        paths=True,
    ),
    Option(
        "machine-steps",
        f"Steps of one sequence that --machine tries, at most. Default: {DEFAULT_MACHINE_STEPS}.",
        parse_positive_integer,
        "N",
    ),
    Option(
        "machine-examples",
        f"Sequences that --machine tries, at most. Default: {DEFAULT_MACHINE_EXAMPLES}.",
        parse_positive_integer,
        "N",
    ),
    Option(
        "machine-budget",
        f"Seconds after which --machine makes no edit that it has not made before. "
        f"Default: {DEFAULT_MACHINE_BUDGET:g}.",
        parse_seconds,
        "S",
    ),
    Option("device", "auto, cpu, cuda or cuda:N. Default: auto.", parse_device, "DEVICE"),
    Option(
        "device-map",
        "auto spreads the blocks of a model over all GPUs, for one that is too large for a single GPU; needs "
        f"accelerate. Default: {DEVICE_MAPS[0]}.",
        parse_device_map,
        "MAP",
    ),
    Option(
        "gpus-per-worker",
        "Give each worker of -n, or of a cluster, this many GPUs. Default: 1; all with --device-map auto.",
        parse_positive_integer,
        "N",
    ),
    Option(
        "retries",
        "Try a test whose worker died again this often, before it becomes an error of the infrastructure. "
        f"Default: {DEFAULT_RETRIES}.",
        parse_whole_number,
        "N",
    ),
    Option("dtype", f"{', '.join(DTYPES[:-1])} or {DTYPES[-1]}. Default: {DTYPES[0]}.", parse_dtype, "DTYPE"),
    Option(
        "matmul-precision",
        f"Round the factors of float32 matrix products to {', '.join(MATMUL_PRECISIONS[1:-1])} or "
        f"{MATMUL_PRECISIONS[-1]}. Default: {AUTO}, which is tf32 on a GPU, and on a CPU bfloat16 if it has "
        "instructions for it.",
        parse_matmul_precision,
        "TYPE",
    ),
    Option("seed", "Seeds the sample, the context templates and every editor. Default: 0.", parse_seed, "N"),
    Option(
        "batch-size",
        "Edit this many requests together; auto fits the device. Default: auto.",
        parse_batch_size,
        "N",
    ),
    Option("reports-dir", "Write each run's records below this. Default: reports.", parse_path, "DIR", paths=True),
    Option(
        "resume",
        "Do not run cases again that have a record in this run's directory, or in one of the runs in it, of the same "
        "weights, editor, settings and request.",
        parse_path,
        "RUN",
        ini=False,
    ),
    Option(
        "gitlab-code-quality",
        "Write the failing cases to this file, as a Code Quality report for GitLab.",
        parse_path,
        "FILE",
        paths=True,
    ),
    Option(
        "baseline",
        "Compare with the outcomes in this file: known collapses do not fail, and what got worse does.",
        parse_path,
        "FILE",
        paths=True,
    ),
    Option(
        "ray",
        "Run the cases on a Ray cluster: auto for the one that runs, or a new one on this machine; or host:port of "
        "its head.",
        parse_ray_address,
        "ADDRESS",
    ),
    Option(
        "ray-cpus",
        "Give each worker of --ray this many CPUs. Default: 1 beside a GPU, and up to 4 without.",
        parse_positive_integer,
        "N",
    ),
    Option(
        "ray-wait",
        "Seconds to wait for a worker of --ray while none is alive, before the rest becomes errors of the "
        f"infrastructure. Default: {DEFAULT_RAY_WAIT:g}.",
        parse_seconds,
        "S",
    ),
    Option(
        "baseline-tolerance",
        "Count a model and editor as worse where the median ratio of ME-PPL to the baseline's is above this factor. "
        f"Default: {DEFAULT_BASELINE_TOLERANCE:g}.",
        parse_tolerance,
        "FACTOR",
    ),
    Option(
        "editor-config",
        "Take hyper-parameters from a YAML file of one 'field: value' a line; --set wins over it. "
        "EDITOR= says whose they are, where several editors run. Repeats.",
        parse_config_file,
        "[EDITOR=]FILE",
        repeats=True,
        ini=False,
    ),
    Option(
        "set",
        "Set a hyper-parameter, as in --set rome.v_lr=0.5; the value is YAML. Repeats.",
        parse_overrides,
        "EDITOR.FIELD=VALUE",
        repeats=True,
        ini=False,
    ),
    Option(
        "mirror",
        "Fetch published sets from below this address first, then from their own. Repeats like --editor.",
        parse_mirrors,
        "URL",
        repeats=True,
    ),
)

FLAGS = (
    ("--tf32", "collapse_matmul_precision", "tf32", "Short for --matmul-precision tf32."),
    ("--no-tf32", "collapse_matmul_precision", "float32", "Short for --matmul-precision float32."),
    (
        "--gate-on-drop",
        "collapse_gate_on_drop",
        True,
        "Fail a case whose accuracy dropped significantly below the unedited model's, too.",
    ),
    ("--full-curve", "collapse_full_curve", True, "Let a scenario go on to its end after a collapse."),
    ("--fail-ineffective", "collapse_fail_ineffective", True, "Fail a case whose edit does not take, too."),
    (
        "--skip-broken",
        "collapse_skip_broken",
        True,
        "Leave out the broken records of a file of requests, and say how many, instead of ending the run.",
    ),
    ("--update-baseline", "collapse_update_baseline", True, "Write the file of --baseline anew at the end of the run."),
    ("--no-html", "collapse_html", False, "Write no report.html beside the records."),
    ("--offline", "collapse_offline", True, "Fetch nothing: no published set, no model, no task's data."),
)
