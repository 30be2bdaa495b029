"""YAML as hyper-parameters want it, read and written alike; PyYAML is imported only where a value is at hand."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

__all__ = ["yaml_dumper", "yaml_loader"]


@cache
def yaml_loader() -> Any:
    """PyYAML's safe loader, for which `5e-4` is a number: for YAML 1.1 it is text, as it lacks a dot and a sign."""
    import yaml

    return type("Loader", (yaml.SafeLoader,), {"yaml_implicit_resolvers": _resolvers(yaml.SafeLoader)})


@cache
def yaml_dumper() -> Any:
    """The counterpart of `yaml_loader`: it quotes a text that would be read as a number, and keeps texts on a line."""
    import yaml

    dumper: Any = type("Dumper", (yaml.SafeDumper,), {"yaml_implicit_resolvers": _resolvers(yaml.SafeDumper)})
    dumper.add_representer(str, _represent_text)
    return dumper


def _resolvers(base: Any) -> dict[str, list[tuple[str, Any]]]:
    """PyYAML's table of first character → (tag, pattern), with numbers such as `5e-4`, and without dates.

    Dates stay texts: they have no place in a record's JSON.
    """
    number = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+$")
    table = {
        first: [(tag, pattern) for tag, pattern in entries if tag != "tag:yaml.org,2002:timestamp"]
        for first, entries in base.yaml_implicit_resolvers.items()
    }
    for first in "-+.0123456789":
        table.setdefault(first, []).insert(0, ("tag:yaml.org,2002:float", number))
    return table


def _represent_text(dumper: Any, text: str) -> Any:
    # The other styles fold a line break into several lines.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')
