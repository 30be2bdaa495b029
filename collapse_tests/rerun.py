"""The command line that runs one case again."""

from __future__ import annotations

import dataclasses
import math
import re
import shlex

from collapse_tests.cases import Case
from collapse_tests.settings import Settings
from collapse_tests.yaml_values import yaml_dumper

__all__ = ["rerun_command"]

#: Settings that are options of the same name with a value.
_VALUED = (
    "edits_limit",
    "edits_sample",
    "ppl_limit",
    "ppl_texts",
    "device",
    "dtype",
    "matmul_precision",
    "seed",
    "batch_size",
)

#: What pytest's `-k` takes as one word.
_KEYWORD = re.compile(r"[\w:+\-.\[\]\\/]+")


def rerun_command(case: Case, settings: Settings) -> str:
    """A `pytest` command that runs just this case, with every option that is not the default."""
    words = ["pytest", "--editor", case.editor, "--model", case.model, "--edits", ",".join(settings.edits)]
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    for name in _VALUED:
        value = getattr(settings, name)
        if value != defaults[name]:
            words += [f"--{name.replace('_', '-')}", str(value).removesuffix(".0")]
    words += ["--fail-ineffective"] if settings.fail_ineffective else []
    for override in settings.overrides:  # those in files too: a file may change or be elsewhere
        if override.editor != case.editor:
            continue  # of no use in a run without that editor
        words += ["--set", f"{override.editor}.{override.field}={_as_yaml(override.value)}"]
    # Alone in its run, the second model or editor of a name loses the suffix that told it from the first.
    exact = case.edit_id if "~" in case.group else f"[{case.id}]"
    words += ["-k", " and ".join(_KEYWORD.findall(exact))]
    return shlex.join(words)


def _as_yaml(value: object) -> str:
    """One line of YAML, which is how `--set` reads a value."""
    import yaml

    text: str = yaml.dump(value, Dumper=yaml_dumper(), default_flow_style=True, width=math.inf)
    return text.removesuffix("...\n").strip()
