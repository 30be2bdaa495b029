"""Factories of the native editors: (editor name, model name, settings) → editor with its hyper-parameters."""

from __future__ import annotations

from collapse_tests.editors.hparams import load_hyperparameters
from collapse_tests.editors.rome import Rome, RomeHyperparameters
from collapse_tests.settings import Override, Settings

__all__ = ["c_rome", "r_rome", "rome"]


def rome(name: str, model: str, settings: Settings) -> Rome:
    """ROME as EasyEdit computes it."""
    return _rome(name, model, settings, "mixed")


def c_rome(name: str, model: str, settings: Settings) -> Rome:
    """C-ROME: the context-averaged key everywhere."""
    return _rome(name, model, settings, "prefixed")


def r_rome(name: str, model: str, settings: Settings) -> Rome:
    """R-ROME, which with its default keys is C-ROME; `--set r-rome.keys=prompt` takes the bare key everywhere."""
    return _rome(name, model, settings, "prefixed")


def _rome(name: str, model: str, settings: Settings, keys: str) -> Rome:
    overrides = (Override(name, "keys", keys), *settings.overrides)
    return Rome(name, load_hyperparameters(RomeHyperparameters, "rome", name, model, overrides))
