"""What a run may fetch and from where: offline or not, and the mirrors to ask first.

Both live in the environment, so that workers and other processes of a run inherit them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from urllib.parse import urlsplit

from collapse_tests.errors import UsageError

__all__ = ["MIRROR_VARIABLE", "OFFLINE_VARIABLE", "go_offline", "is_offline", "mirrors", "parse_mirrors", "use_mirrors"]

#: Environment variable that forbids every download, as `--offline` does.
OFFLINE_VARIABLE = "PYTEST_COLLAPSE_OFFLINE"
#: Environment variable of base addresses to ask first, separated by commas, as `--mirror` gives them.
MIRROR_VARIABLE = "PYTEST_COLLAPSE_MIRROR"

_OF_FRAMEWORKS = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
_YES = frozenset({"1", "true", "yes", "on"})


def go_offline() -> None:
    """Forbid every download, the frameworks' own ones too.

    Call it before they are imported: they read their variables once.
    """
    for variable in (OFFLINE_VARIABLE, *_OF_FRAMEWORKS):
        os.environ[variable] = "1"


def is_offline() -> bool:
    """Whether downloads are forbidden."""
    return os.environ.get(OFFLINE_VARIABLE, "").strip().lower() in _YES


def use_mirrors(addresses: Iterable[str]) -> None:
    """Ask these base addresses first, in this order, instead of those in the environment."""
    os.environ[MIRROR_VARIABLE] = ",".join(addresses)


def mirrors() -> tuple[str, ...]:
    """The base addresses to ask first, without a slash at the end.

    Raises:
        UsageError: the environment variable holds something else.
    """
    text = os.environ.get(MIRROR_VARIABLE, "")
    try:
        return tuple(parse_mirrors(text)) if text.strip() else ()
    except UsageError as error:
        raise UsageError(f"{MIRROR_VARIABLE}: {error}") from None


def parse_mirrors(text: str) -> list[str]:
    """A comma list of http or https addresses, as a list without slashes at the ends.

    Raises:
        UsageError: one is something else.
    """
    addresses = [part.strip().rstrip("/") for part in text.split(",")]
    for address in addresses:
        if not _is_web_address(address):
            raise UsageError(f"{address!r} is no web address; give one such as https://mirror.example/sets")
    return addresses


def _is_web_address(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:  # brackets that are no IPv6 address
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
