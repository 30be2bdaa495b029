"""Numbers in sentences."""

from __future__ import annotations

__all__ = ["counted"]


def counted(count: int, what: str) -> str:
    """`count` and the noun, in the plural where that is called for."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
