"""MEND: a hypernetwork that edits, and its training."""

from collapse_tests.editors.mend.editor import Mend, MendHyperparameters

__all__ = ["Mend", "MendHyperparameters"]
