from __future__ import annotations

import pytest

from benchmarks.arrivals import steady_rate
from benchmarks.cost_model import Cost, Limits, measured_costs, wall_seconds

LIMITS = Limits(rate=1000, bytes_per_case=1024, base_bytes=0, efficiency=0.5)
COST = Cost("m", "rome", case=0.5, batch=10, one_off=60, load=20)


def test_the_first_batch_counts_for_nothing() -> None:
    quick = [30.0, 30.01, 35.0, 35.01, 40.0, 40.01]  # 4 in 10 s
    slow = [90.0, 100.0, 110.0]  # 2 in 20 s
    assert steady_rate({"gw0": quick, "gw1": slow}) == pytest.approx(0.4 + 0.1, rel=1e-3)


def test_a_single_batch_tells_no_rate() -> None:
    with pytest.raises(ValueError, match="gw0 sent a single batch"):
        steady_rate({"gw0": [1.0, 1.01, 1.02]})


def test_one_gpu_has_nobody_to_wait_for() -> None:
    assert wall_seconds(COST, 1000, 1, LIMITS) == pytest.approx(20 + 60 + 500)


def test_several_gpus_share_the_cases_but_not_what_is_done_once() -> None:
    assert wall_seconds(COST, 1000, 4, LIMITS) == pytest.approx(20 + 60 + 250 + 5)


def test_with_enough_gpus_the_driver_is_what_limits() -> None:
    assert wall_seconds(COST, 1_000_000, 10_000, LIMITS) == pytest.approx(20 + 60 + 1000 + 5)


def test_every_setting_of_the_study_has_a_cost() -> None:
    costs = measured_costs()
    assert len({(cost.model, cost.editor) for cost in costs if cost.model != "smollm2-135m"}) == 12
    assert all(0 < cost.case < 60 for cost in costs)
    assert not next(cost for cost in costs if (cost.model, cost.editor) == ("llama2-7b", "memit")).scaled
