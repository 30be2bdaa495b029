from __future__ import annotations

import os

import pytest

from collapse_tests.environment import fingerprint, usable_cores
from collapse_tests.settings import Settings


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not bind processes to cores")
def test_cores_that_a_queue_withholds_do_not_count() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert usable_cores() == 1
        assert fingerprint(Settings(("rome",)))["cpus"] == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert usable_cores() == len(allowed)
