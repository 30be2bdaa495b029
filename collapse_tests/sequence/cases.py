"""Models x editors x request sets → tests of edits in sequence, with stable, data-only ids."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from collapse_tests.cases import group_names, stems_of
from collapse_tests.datasets.requests import NamedRequest, load_requests, stem_of
from collapse_tests.sequence_record import SequenceKind
from collapse_tests.settings import Settings

__all__ = ["SequenceCase", "expand_sequences"]


@dataclass(frozen=True, slots=True)
class SequenceCase:
    """One test: edits of one set of requests, in sequence, on one model with one editor.

    Attributes:
        model: model name as in the settings.
        editor: editor name as in the settings.
        kind: whether the requests are the sequence or a pool to draw sequences from.
        name: of the set, in short; holds no `-`.
        source: of the set, as in the settings.
        requests: one or more.
        group: `<model>-<editor>` in short, node-id-safe names.
    """

    model: str
    editor: str
    kind: SequenceKind
    name: str
    source: str
    requests: tuple[NamedRequest, ...]
    group: str

    @property
    def id(self) -> str:
        """`<model>-<editor>-<kind>:<name>`, the part of the node id in brackets."""
        return f"{self.group}-{self.kind}:{self.name}"


def expand_sequences(settings: Settings, kind: SequenceKind) -> tuple[SequenceCase, ...]:
    """Every test of a kind: models, then editors, then sets, each in the order given; see `expand_cases`.

    Raises:
        UsageError: a request file is unusable.
    """
    scenario = kind is SequenceKind.SCENARIO
    groups = group_names(settings)
    asked, limit = (settings.scenarios, settings.steps) if scenario else (settings.machines, None)
    sets = list(_sets(asked, limit, skip_broken=settings.skip_broken))
    return tuple(
        SequenceCase(model, editor, kind, name, source, requests, groups[model, editor])
        for model in settings.models
        for editor in settings.editors
        for name, source, requests in sets
    )


def _sets(
    sources: Collection[str], limit: int | None, *, skip_broken: bool
) -> Iterator[tuple[str, str, tuple[NamedRequest, ...]]]:
    """Name, source and requests of each set."""
    stems = stems_of(sources)
    for source in sources:
        requests = load_requests(source, limit=limit, skip_broken=skip_broken)
        if source in stems:
            requests = [_renamed(named, stems[source]) for named in requests]
        yield stems.get(source, stem_of(source)), source, tuple(requests)


def _renamed(named: NamedRequest, stem: str) -> NamedRequest:
    return replace(named, edit_id=f"{stem}:{named.edit_id.rpartition(':')[2]}")
