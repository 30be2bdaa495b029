"""What one run was asked to do: the frozen result of parsing every option."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from collapse_tests.shards import Shard

__all__ = [
    "DEFAULT_BASELINE_TOLERANCE",
    "DEFAULT_EDITS",
    "DEFAULT_MACHINE_BUDGET",
    "DEFAULT_MACHINE_EXAMPLES",
    "DEFAULT_MACHINE_STEPS",
    "DEFAULT_MODEL",
    "DEFAULT_PPL_LIMIT",
    "DEFAULT_PPL_TEXTS",
    "DEFAULT_RAY_WAIT",
    "DEFAULT_RETRIES",
    "DEFAULT_SCENARIO_PPL_TEXTS",
    "DEFAULT_SUSPECT_GROWTH",
    "DEFAULT_TASKS",
    "Downstream",
    "Override",
    "Settings",
]

DEFAULT_MODEL = "smollm2-135m"
DEFAULT_EDITS = "smoke"
DEFAULT_PPL_TEXTS = "default"
DEFAULT_SCENARIO_PPL_TEXTS = "default-1k"
DEFAULT_PPL_LIMIT = 1000.0
DEFAULT_TASKS = "default"
DEFAULT_SUSPECT_GROWTH = 1.5
#: Rounding, other kernels and another order of sums stay far below.
DEFAULT_BASELINE_TOLERANCE = 1.05
#: Long enough for a machine to be started in the place of one that was lost.
DEFAULT_RAY_WAIT = 300.0
#: One for a machine that failed by chance, one more for certainty.
DEFAULT_RETRIES = 2
DEFAULT_MACHINE_STEPS = 12
DEFAULT_MACHINE_EXAMPLES = 30
DEFAULT_MACHINE_BUDGET = 600.0


class Downstream(StrEnum):
    """When downstream tasks are measured.

    `AUTO`: after each edit where that is cheap, that is on the shipped tasks; otherwise as `SUSPECT`. `EACH`: after
    every single edit. `SUSPECT`: where ME-PPL grew by `Settings.suspect_growth` or more, as the surrogate of the study
    suggests. `FINAL`: at the end of a sequence only. `NEVER`.
    """

    AUTO = "auto"
    EACH = "each"
    SUSPECT = "suspect"
    FINAL = "final"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Override:
    """A hyper-parameter that the user gave, by `--set EDITOR.FIELD=VALUE` or in a file of `--editor-config`.

    Attributes:
        editor: name as given to `--editor`.
        field: of its hyper-parameters.
        value: what YAML makes of the text: a number, a boolean, a list, a mapping or a string.
        source: where it was given, for messages: `--set`, or `--editor-config` and the file.
    """

    editor: str
    field: str
    value: object
    source: str = "--set"

    @property
    def place(self) -> str:
        """How messages begin that are about this field, without the value."""
        return f"{self.source}{' ' if self.source == '--set' else ': '}{self.editor}.{self.field}"


@dataclass(frozen=True, slots=True)
class Settings:
    """Every option of a run, validated and with its default filled in.

    Attributes:
        editors: editor names, in the order given, without duplicates.
        models: model names, directories or hub ids, likewise.
        edits: names of shipped or published request sets or paths of request files, likewise.
        edits_limit: keep at most this many requests, the first ones, or None.
        edits_sample: keep this many requests drawn with `seed`, or None.
        riskiest: of those, keep this many for each model and editor, the likeliest to collapse it first, or None.
        shard: the part of all tests that this run takes, or None for all of them.
        ppl_limit: ME-PPL at or above this is a collapse.
        ppl_texts: `default` or `default-1k` for shipped sentences, the name of published ones, or a path; None for
            `default` where single edits are measured and `default-1k` in scenarios.
        tasks: `default` for the shipped downstream tasks, or names of tasks, without duplicates.
        tasks_limit: items of each task at most, the first ones, or None.
        tasks_data: directory with the data of tasks that are not shipped, or None for lm-eval's own loading.
        downstream: when tasks are measured.
        suspect_growth: factor of ME-PPL over the unedited model's from which an edit is suspect.
        gate_on_drop: whether a significant drop against the unedited model fails a case, too.
        scenarios: names of shipped request sets or paths of request files to edit in sequence.
        steps: edits of each scenario at most, the first ones, or None.
        full_curve: whether a scenario goes on after the first collapse.
        machines: request sets or files whose requests stateful tests draw from.
        machine_steps: rules in one example of a stateful test, at most.
        machine_examples: examples of a stateful test, at most.
        machine_budget: seconds after which a stateful test tries nothing new.
        device: `auto`, `cpu`, `cuda` or `cuda:n`.
        device_map: `auto` to spread a model's blocks over all GPUs, or `none`.
        gpus_per_worker: GPUs that each of several processes gets, or None for one, and for all of its machine where
            `device_map` spreads the model.
        retries: how often a test is tried again whose process died.
        dtype: `float32`, `bfloat16`, `float16` or `float64`.
        matmul_precision: `auto`, `float32`, `tf32` or `bfloat16`: what float32 matrix products are rounded to.
        seed: seeds the context templates, `edits_sample` and every editor.
        batch_size: requests edited together, or None to choose by the device.
        fail_ineffective: whether an edit that does not take fails its test.
        skip_broken: whether broken records of request files are left out rather than an error.
        html: whether the run's page is written at its end.
        offline: whether nothing may be fetched.
        mirrors: base addresses to ask first for published sets.
        reports_dir: directory in which each run makes its own.
        resume: an earlier run's directory, or one that holds some, whose records answer for cases; or None.
        gitlab_code_quality: file for the failing cases as GitLab's Code Quality report, or None.
        baseline: file with the outcomes of an earlier run, whose collapses are known; or None.
        ray: `auto` for the Ray cluster that is there, or one on this machine; the address of one; or None.
        ray_cpus: CPUs of each worker of it, or None to choose.
        ray_wait: seconds to wait for a worker while none is alive.
        baseline_tolerance: median ratio of ME-PPL to the baseline's from which a run is worse as a whole.
        update_baseline: whether that file is written at the end of the run.
        overrides: hyper-parameters given by the user, those in files first; a later one of a field wins.
    """

    editors: tuple[str, ...]
    models: tuple[str, ...] = (DEFAULT_MODEL,)
    edits: tuple[str, ...] = (DEFAULT_EDITS,)
    edits_limit: int | None = None
    edits_sample: int | None = None
    riskiest: int | None = None
    shard: Shard | None = None
    ppl_limit: float = DEFAULT_PPL_LIMIT
    ppl_texts: str | None = None
    device: str = "auto"
    device_map: str = "none"
    gpus_per_worker: int | None = None
    retries: int = DEFAULT_RETRIES
    dtype: str = "float32"
    matmul_precision: str = "auto"
    seed: int = 0
    batch_size: int | None = None
    tasks: tuple[str, ...] = (DEFAULT_TASKS,)
    tasks_limit: int | None = None
    tasks_data: Path | None = None
    downstream: Downstream = Downstream.AUTO
    suspect_growth: float = DEFAULT_SUSPECT_GROWTH
    gate_on_drop: bool = False
    scenarios: tuple[str, ...] = ()
    steps: int | None = None
    full_curve: bool = False
    machines: tuple[str, ...] = ()
    machine_steps: int = DEFAULT_MACHINE_STEPS
    machine_examples: int = DEFAULT_MACHINE_EXAMPLES
    machine_budget: float = DEFAULT_MACHINE_BUDGET
    fail_ineffective: bool = False
    skip_broken: bool = False
    html: bool = True
    offline: bool = False
    mirrors: tuple[str, ...] = ()
    reports_dir: Path = field(default_factory=lambda: Path("reports"))
    resume: Path | None = None
    gitlab_code_quality: Path | None = None
    baseline: Path | None = None
    ray: str | None = None
    ray_cpus: int | None = None
    ray_wait: float = DEFAULT_RAY_WAIT
    baseline_tolerance: float = DEFAULT_BASELINE_TOLERANCE
    update_baseline: bool = False
    overrides: tuple[Override, ...] = ()
