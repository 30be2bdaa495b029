"""Errors about one option, said about another."""

from __future__ import annotations

import pytest

from collapse_tests.errors import InfrastructureError, UsageError
from collapse_tests.hard_edits.option_names import renamed


@pytest.mark.parametrize("kind", [UsageError, InfrastructureError])
def test_the_option_is_renamed_and_nothing_else(kind: type[UsageError | InfrastructureError]) -> None:
    with pytest.raises(kind) as caught, renamed("--edits", "--exclude"):
        raise kind("--edits 'my--edits.json' is no file; give a file to --edits, not to --edits-limit")
    assert str(caught.value) == "--exclude 'my--edits.json' is no file; give a file to --exclude, not to --edits-limit"


def test_the_cause_is_kept() -> None:
    cause = OSError("gone")
    with pytest.raises(InfrastructureError) as caught, renamed("--model", "--writer-model"):
        raise InfrastructureError("--model 'x'") from cause
    assert caught.value.__cause__ is cause
