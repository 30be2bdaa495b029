"""The data a run reads: edit requests and the sentences perplexity is measured on."""

from __future__ import annotations

__all__: list[str] = []
