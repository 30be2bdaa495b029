from __future__ import annotations

import importlib.util
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collapse_tests.errors import UsageError
from collapse_tests.models import placement
from collapse_tests.models.placement import WEIGHTS_SHARE, balanced, check_device_map, missing_bytes
from collapse_tests.settings import Settings

SPREAD = Settings(("rome",), device_map="auto")


def test_equal_devices_get_equal_parts() -> None:
    assert balanced([10] * 6, 0, [100, 100]) == [0, 0, 0, 1, 1, 1]
    assert balanced([10] * 6, 0, [100, 100, 100]) == [0, 0, 1, 1, 2, 2]


def test_the_first_device_gets_fewer_blocks_for_what_it_holds_beside_them() -> None:
    assert balanced([10] * 6, 20, [100, 100]) == [0, 0, 1, 1, 1, 1]


def test_a_larger_device_gets_more() -> None:
    assert balanced([10] * 6, 0, [50, 100]) == [0, 0, 1, 1, 1, 1]
    assert balanced([10] * 3, 0, [100, 0, 50]) == [0, 0, 2]


def test_room_beside_the_weights_is_asked_for() -> None:
    assert balanced([50, 50], 0, [50 / WEIGHTS_SHARE + 1, 50 / WEIGHTS_SHARE + 1]) == [0, 1]  # type: ignore[list-item]
    assert balanced([50, 50], 0, [55, 55]) is None
    assert balanced([10], 100, [100, 1000]) is None


@given(
    blocks=st.lists(st.integers(1, 50), min_size=1, max_size=12),
    rest=st.integers(0, 100),
    free=st.lists(st.integers(0, 300), min_size=1, max_size=4),
)
def test_blocks_stay_in_order_and_no_device_is_too_full(blocks: list[int], rest: int, free: list[int]) -> None:
    found = balanced(blocks, rest, free)
    if found is None:
        return
    assert found == sorted(found)
    for device, size in enumerate(free):
        used = sum(block for block, place in zip(blocks, found, strict=True) if place == device)
        assert used + (rest if device == 0 else 0) <= WEIGHTS_SHARE * size + 1e-6
    assert missing_bytes(blocks, rest, free) == 0


def test_what_is_missing() -> None:
    assert missing_bytes([85, 85], 0, [100, 50]) == 50


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_map_goes_with_all_gpus(device: str) -> None:
    check_device_map(replace(SPREAD, device=device))
    check_device_map(Settings(("rome",), device="cuda:1"))


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_a_map_does_not_go_with_one_device(device: str) -> None:
    with pytest.raises(UsageError, match=f"--device-map auto.*--device {device} is one device; leave one"):
        check_device_map(replace(SPREAD, device=device))


def test_a_map_needs_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "find_spec", lambda name: None)
    assert importlib.util.find_spec("accelerate") is not None
    with pytest.raises(UsageError, match=r"--device-map auto needs accelerate.*pip install accelerate"):
        check_device_map(SPREAD)
