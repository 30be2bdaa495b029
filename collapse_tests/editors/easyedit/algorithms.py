"""Which of EasyEdit's algorithms can be gated, where each is found in it, and why the others cannot."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import Enum

from collapse_tests.errors import UsageError

__all__ = ["ALGORITHMS", "PREFIX", "Algorithm", "Templates", "algorithm_of", "is_easyedit_name"]

#: What precedes the algorithm in an `--editor` value.
PREFIX = "easyedit"


class Templates(Enum):
    """Layout of an algorithm's context templates: one flat list, or a list of groups that weigh alike."""

    FLAT = "flat"
    GROUPED = "grouped"


@dataclass(frozen=True, slots=True)
class Algorithm:
    """Where an algorithm is found in EasyEdit and what it takes for granted.

    Attributes:
        name: in EasyEdit's table.
        module: below `easyeditor.models`.
        function: in that module; `Class.method` for an executor object, which is made anew for each edit because it
            keeps the first model it sees.
        schema: class of its hyper-parameters in that module.
        templates: layout of its context templates, if it has any.
        moments: whether it needs second moments of keys.
        projection: whether it needs their null space, and keeps the keys of earlier edits.
        trainer: class of `easyeditor.trainer.algs` it needs, as `module.Class`.
        padding_side: of the tokenizer.
        archive: whether it needs a trained network.
    """

    name: str
    module: str
    function: str
    schema: str
    templates: Templates | None = None
    moments: bool = False
    projection: bool = False
    trainer: str | None = None
    padding_side: str = "right"
    archive: bool = False

    @property
    def folder(self) -> str:
        """Of its hyper-parameter files; its letters' case may differ in the file system."""
        return self.name


def _located(name: str, module: str, function: str, schema: str, *, projection: bool = False) -> Algorithm:
    """A method that optimises a value with grouped context templates and solves with second moments."""
    return Algorithm(name, module, function, schema, Templates.GROUPED, moments=True, projection=projection)


ALGORITHMS = {
    algorithm.name.lower(): algorithm
    for algorithm in (
        Algorithm("FT", "ft.ft_main", "apply_ft_to_model", "FTHyperParams"),
        Algorithm("ROME", "rome.rome_main", "apply_rome_to_model", "ROMEHyperParams", Templates.FLAT),
        Algorithm("R-ROME", "r_rome.r_rome_main", "apply_r_rome_to_model", "R_ROMEHyperParams", Templates.FLAT),
        _located("MEMIT", "memit.memit_main", "apply_memit_to_model", "MEMITHyperParams"),
        _located("MEMIT-FE", "memit_FE.memit_FE_main", "apply_memit_FE_to_model", "MEMITFEHyperParams"),
        _located("EMMET", "emmet.emmet_main", "apply_emmet_to_model", "EMMETHyperParams"),
        _located("EAMET", "eamet.eamet_main", "apply_eamet_to_model", "EAMETHyperParams"),
        _located("PMET", "pmet.pmet_main", "apply_pmet_to_model", "PMETHyperParams"),
        _located("CORE", "core.core_main", "apply_core_to_model", "COREHyperParams"),
        _located(
            "AlphaEdit", "alphaedit.AlphaEdit_main", "apply_AlphaEdit_to_model", "AlphaEditHyperParams", projection=True
        ),
        _located("SPHERE", "SPHERE.SPHERE_main", "apply_SPHERE_to_model", "SPHEREHyperParams", projection=True),
        Algorithm("KN", "kn.kn_main", "apply_kn_to_model", "KNHyperParams"),
        Algorithm(
            "MEND",
            "mend.mend_main",
            "MendRewriteExecutor.apply_to_model",
            "MENDHyperParams",
            trainer="MEND.MEND",
            padding_side="left",
            archive=True,
        ),
        Algorithm(
            "UltraEdit",
            "ultraedit.ultraedit_main",
            "UltraEditRewriteExecutor.apply_to_model",
            "UltraEditHyperParams",
            padding_side="left",
        ),
    )
}

_ADDS_MODULES = "it adds modules to the model and leaves its weights alone"
_REFUSED = {
    "ike": "it puts demonstrations into the prompt and edits nothing",
    "serac": "it routes prompts to a second model and leaves the weights alone",
    "grace": _ADDS_MODULES,
    "wise": _ADDS_MODULES,
    "melo": _ADDS_MODULES,
    "defer": _ADDS_MODULES,
    "lora": _ADDS_MODULES,
    "qlora": _ADDS_MODULES,
    "dpo": _ADDS_MODULES,
    "ft-api": "it edits a model behind an API",
    "deepedit-api": "it edits a model behind an API",
    "dinm": "it removes toxic regions, for which it needs unsafe answers that an edit request does not have",
    "simie": "it wraps another algorithm for sequences of edits; gate that algorithm",
}


def is_easyedit_name(name: str) -> bool:
    """Whether an `--editor` value asks for an algorithm of EasyEdit's."""
    return name.partition(":")[0].strip().lower() == PREFIX and ":" in name


def algorithm_of(name: str) -> Algorithm:
    """The algorithm behind `easyedit:ALGORITHM`, in whatever letter case.

    Raises:
        UsageError: EasyEdit has no such algorithm, or it does not edit weights.
    """
    given = name.partition(":")[2].strip()
    known = ", ".join(algorithm.name for algorithm in ALGORITHMS.values())
    if (reason := _REFUSED.get(given.lower())) is not None:
        raise UsageError(f"--editor {name!r} cannot be gated: {reason}. Give one of {known}")
    if (algorithm := ALGORITHMS.get(given.lower())) is not None:
        return algorithm
    close = difflib.get_close_matches(given.lower(), ALGORITHMS, n=1)
    hint = f"did you mean '{PREFIX}:{ALGORITHMS[close[0]].name}'? " if close else ""
    raise UsageError(f"--editor {name!r} is not known: {hint}Give {PREFIX}: and one of {known}")
