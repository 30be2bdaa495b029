"""Models x editors x edit requests → cases with stable, data-only ids."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from collapse_tests.datasets.requests import NAMED_SETS, NamedRequest, load_requests, stem_of
from collapse_tests.edit_request import EditRequest
from collapse_tests.settings import Settings

__all__ = ["Case", "expand_cases", "group_key", "group_names", "label", "stems_of"]


@dataclass(frozen=True, slots=True)
class Case:
    """One test: apply one edit request to one model with one editor.

    Attributes:
        model: model name as in the settings.
        editor: editor name as in the settings.
        edit_id: id of the request, `<stem>:<index>`; holds no `-`.
        request: the request.
        group: `<model>-<editor>` in short, node-id-safe names; made from `model` and `editor` unless given.
    """

    model: str
    editor: str
    edit_id: str
    request: EditRequest
    group: str = ""

    def __post_init__(self) -> None:
        if not self.group:
            object.__setattr__(self, "group", f"{label(self.model)}-{label(self.editor)}")

    @property
    def id(self) -> str:
        """`<model>-<editor>-<edit id>`, the part of the node id in brackets."""
        return f"{self.group}-{self.edit_id}"


def expand_cases(settings: Settings) -> tuple[Case, ...]:
    """Every case of a run: models, then editors, then requests, each in the order given.

    Ids are unique: of two models, editors or request files with the same short name the second gets the suffix `~2`.

    Raises:
        UsageError: a request file is unusable.
    """
    requests = _requests(settings)
    groups = group_names(settings)
    return tuple(
        Case(model, editor, named.edit_id, named.request, groups[model, editor])
        for model in settings.models
        for editor in settings.editors
        for named in requests
    )


def group_key(case_id: str) -> str:
    """The `<model>-<editor>` part of a case id."""
    return case_id.rpartition("-")[0]


def label(name: str) -> str:
    """A short, node-id-safe form of a model or editor name.

    The last component of a path or hub id, the attribute of `module:attribute`; characters other than letters,
    digits, `_`, `.` and `-` become `_`.
    """
    last = re.split(r"[/\\]", name.rstrip("/\\"))[-1].rpartition(":")[2]
    if last in ("", ".", ".."):
        last = Path(name).resolve().name
    return re.sub(r"[^A-Za-z0-9_.-]", "_", last) or "_"


def group_names(settings: Settings) -> Mapping[tuple[str, str], str]:
    """The `<model>-<editor>` names of every pair of a run, without doubles."""
    models = dict(zip(settings.models, _distinct(map(label, settings.models)), strict=True))
    editors = dict(zip(settings.editors, _distinct(map(label, settings.editors)), strict=True))
    pairs = [(model, editor) for model in settings.models for editor in settings.editors]
    # Names may hold dashes, so that two pairs of distinct names can still read the same: x-c with rome, x with c-rome.
    names = _distinct(f"{models[model]}-{editors[editor]}" for model, editor in pairs)
    return dict(zip(pairs, names, strict=True))


def stems_of(sources: Collection[str]) -> dict[str, str]:
    """The stem of every request file, distinct by file; the shipped and the published sets keep theirs."""
    reserved = [stem_of(name) for name in NAMED_SETS] if any(source in NAMED_SETS for source in sources) else []
    files = {source: Path(source).expanduser().resolve() for source in sources if source not in NAMED_SETS}
    first_names = {path: stem_of(source) for source, path in reversed(files.items())}
    paths = list(dict.fromkeys(files.values()))
    stems = _distinct([*reserved, *(first_names[path] for path in paths)])[len(reserved) :]
    by_file = dict(zip(paths, stems, strict=True))
    return {source: by_file[path] for source, path in files.items()}


def _distinct(names: Iterable[str]) -> list[str]:
    """`names` with `~2`, `~3`, ... appended to repetitions; no name holds a `~` of its own."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}~{seen[name]}")
    return result


def _requests(settings: Settings) -> list[NamedRequest]:
    """The requests of every source; one asked for twice, as by `smoke,hard`, is there once."""
    found: dict[str, NamedRequest] = {}
    stems = stems_of(settings.edits)
    for source in settings.edits:
        for named in load_requests(
            source,
            limit=settings.edits_limit,
            sample=settings.edits_sample,
            seed=settings.seed,
            skip_broken=settings.skip_broken,
        ):
            if source in stems:
                index = named.edit_id.rpartition(":")[2]
                named = replace(named, edit_id=f"{stems[source]}:{index}")  # noqa: PLW2901
            found.setdefault(named.edit_id, named)
    return list(found.values())
