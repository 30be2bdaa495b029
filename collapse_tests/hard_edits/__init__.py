"""Candidates for hard edits: counterfactual requests whose single-word subject begins the prompt."""

from __future__ import annotations

__all__: list[str] = []
