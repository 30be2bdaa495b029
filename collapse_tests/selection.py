"""Which tests of a run were selected, and its shard of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from collapse_tests.cases import Case
from collapse_tests.sequence.cases import SequenceCase
from collapse_tests.shards import Selection, Shard, deal

__all__ = ["take_shard"]

#: The group of tests that are none of the gate.
_OTHERS = ""


@dataclass(frozen=True, slots=True)
class _Test:
    """What the shard of an item depends on; two tests of one case are one, as the case is measured once."""

    group: str
    id: str
    case: Case | SequenceCase | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.group, self.id


def take_shard(
    config: pytest.Config,
    items: list[pytest.Item],
    shard: Shard | None,
    case_of: Callable[[pytest.Item], Case | SequenceCase | None],
) -> Selection:
    """Keep the items of a shard, in the order they are in, and report the others as deselected.

    Args:
        config: of the run.
        items: all that were selected; changed in place.
        shard: None to keep them all.
        case_of: the case or sequence of an item, if it is a test of the gate.
    """
    tests = [_test(item, case_of(item)) for item in items]
    whole = list({test.key: test for test in tests}.values())
    own = whole
    if shard is not None:
        dealt = deal((test.key for test in whole), shard.count)
        own = [test for test in whole if dealt[test.key] == shard.index]
        kept = [item for item, test in zip(items, tests, strict=True) if dealt[test.key] == shard.index]
        left = [item for item, test in zip(items, tests, strict=True) if dealt[test.key] != shard.index]
        if left:
            config.hook.pytest_deselected(items=left)
        items[:] = kept
    return Selection(
        shard=None if shard is None else str(shard),
        tests=len(own),
        cases=_cases(own),
        whole_tests=len(whole),
        whole_cases=_cases(whole),
        digest=_digest(whole),
    )


def _test(item: pytest.Item, case: Case | SequenceCase | None) -> _Test:
    if case is None:
        return _Test(_OTHERS, item.nodeid)
    # Node ids of the gate's tests are paths from wherever pytest was started to the package.
    return _Test(f"{case.group} {'' if isinstance(case, Case) else case.kind}", case.id, case)


def _cases(tests: Sequence[_Test]) -> int:
    return sum(test.case is not None for test in tests)


def _digest(tests: Iterable[_Test]) -> str:
    lines = sorted(json.dumps([test.group, test.id, *_asked(test.case)]) for test in tests)
    return hashlib.sha256("\n".join(lines).encode("ascii")).hexdigest()[:16]


def _asked(case: Case | SequenceCase | None) -> list[Any]:
    """The texts of a case, as a file of the same name may hold others elsewhere."""
    if case is None:
        return []
    requests = [case.request] if isinstance(case, Case) else [named.request for named in case.requests]
    return [[getattr(request, name) for name in request.__slots__] for request in requests]
