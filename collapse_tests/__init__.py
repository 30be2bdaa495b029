"""Gate knowledge editors for large language models with pytest."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
