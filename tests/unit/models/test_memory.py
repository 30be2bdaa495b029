from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from collapse_tests.models.memory import TokenBudget, in_halves, is_out_of_memory

OUT_OF_MEMORY: list[Callable[[], Exception]] = [
    lambda: torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError,
    lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"),
]


def test_what_fits_is_done_at_once() -> None:
    calls: list[list[int]] = []

    def work(items: Sequence[int]) -> list[int]:
        calls.append(list(items))
        return [2 * item for item in items]

    assert in_halves(work, [1, 2, 3]) == [2, 4, 6]
    assert calls == [[1, 2, 3]]


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("room", [1, 2])
def test_what_does_not_fit_is_halved_in_order(error: Callable[[], Exception], count: int, room: int) -> None:
    done: list[int] = []

    def work(items: Sequence[int]) -> list[str]:
        if len(items) > room:
            raise error()
        done.extend(items)
        return [str(item) for item in items]

    assert in_halves(work, range(count)) == [str(item) for item in range(count)]
    assert done == list(range(count))  # nothing is done twice


def test_only_the_half_that_does_not_fit_is_halved_again() -> None:
    sizes: list[int] = []

    def work(items: Sequence[int]) -> Sequence[int]:
        sizes.append(len(items))
        if 7 in items and len(items) > 1:
            raise MemoryError
        return items

    assert in_halves(work, range(8)) == list(range(8))
    assert sizes == [8, 4, 4, 2, 2, 1, 1]


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_a_single_item_that_does_not_fit_raises(error: Callable[[], Exception]) -> None:
    def work(items: Sequence[int]) -> list[int]:
        if 2 in items:
            raise error()
        return list(items)

    with pytest.raises(type(error())):
        in_halves(work, [1, 2, 3])


@pytest.mark.parametrize("error", [ValueError("memory"), RuntimeError("shape mismatch"), KeyboardInterrupt()])
def test_other_errors_pass_at_once(error: BaseException) -> None:
    calls = 0

    def work(items: Sequence[int]) -> list[int]:
        nonlocal calls
        calls += 1
        raise error

    with pytest.raises(type(error)):
        in_halves(work, [1, 2, 3, 4])
    assert calls == 1
    assert not is_out_of_memory(error)


def test_a_budget_is_halved_until_the_work_fits_and_stays_halved() -> None:
    budget, asked = TokenBudget(1000), []

    def work() -> str:
        asked.append(budget.tokens)
        if budget.tokens > 300:
            raise torch.OutOfMemoryError
        return "done"

    assert budget.run(work, least=10) == "done"
    assert asked == [1000, 500, 250]
    assert budget.run(work, least=10) == "done"
    assert asked[3:] == [250]


def test_a_budget_ends_where_the_work_cannot_be_cut_further() -> None:
    budget, asked = TokenBudget(100), []

    def work() -> None:
        asked.append(budget.tokens)
        raise MemoryError

    with pytest.raises(MemoryError):
        budget.run(work, least=40)
    assert asked == [100, 50, 25]
    assert budget.tokens == 100  # something else was too large


def test_a_budget_does_not_hide_other_errors() -> None:
    budget = TokenBudget(100)

    def work() -> None:
        raise ValueError("memory")

    with pytest.raises(ValueError, match="memory"):
        budget.run(work, least=1)
    assert budget.tokens == 100
