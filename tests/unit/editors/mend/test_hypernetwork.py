"""The hypernetwork by itself: its form at the start, its normalisation, what it does with padding and NaN."""

from __future__ import annotations

import pytest
import torch

from collapse_tests.editors.mend.hypernetwork import Factors, Hypernetwork, ResidualLayer, Statistics

SHAPES = {"a": (5, 3), "b": (3, 5), "c": (5, 3)}


def network(edit_lr: float = 0.5, seed: int = 0) -> Hypernetwork:
    return Hypernetwork(SHAPES, rank=4, hidden_layers=1, edit_lr=edit_lr, seed=seed)


def factors(tokens: int = 4, requests: int = 2) -> dict[str, Factors]:
    numbers = torch.Generator().manual_seed(1)
    return {
        name: Factors(
            torch.randn(requests, tokens, shape[1], generator=numbers),
            torch.randn(requests, tokens, shape[0], generator=numbers),
        )
        for name, shape in SHAPES.items()
    }


def test_it_starts_as_the_identity_times_the_step_size() -> None:
    given = factors()
    changed = network(edit_lr=0.5)(given)
    for name, change in changed.items():
        torch.testing.assert_close(change.inputs, given[name].inputs)
        torch.testing.assert_close(change.gradients, 0.5 * given[name].gradients)


def test_weights_of_one_shape_share_a_network_and_differ_by_scale_and_shift() -> None:
    net = network()
    assert net.transform_of("a") is net.transform_of("c")
    assert net.transform_of("a") is not net.transform_of("b")
    with torch.no_grad():
        layer = net.transform_of("a").residual_layers[0]
        layer.shift[1] += 1
    given = factors()
    same = {**given, "c": given["a"]}
    changed = net(same)
    torch.testing.assert_close(changed["a"].inputs, given["a"].inputs)
    torch.testing.assert_close(changed["c"].inputs, given["a"].inputs + 1)


def test_every_unit_learns_from_the_start() -> None:
    """With U zero all of them sit at the kink, where a ReLU has no gradient."""
    layer = ResidualLayer(6, 4, 1)
    layer(torch.randn(8, 6, generator=torch.Generator().manual_seed(0)), 0).sum().backward()
    assert layer.u.grad is not None
    assert (layer.u.grad != 0).any(1).all()


def test_the_initial_weights_follow_the_seed_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = network(seed=1), network(seed=1), network(seed=2)
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)
    first_v, again_v, other_v = (net.state_dict()["transforms.3_to_5.layers.0.v"] for net in (first, again, other))
    assert torch.equal(first_v, again_v)
    assert not torch.equal(first_v, other_v)


def test_tokens_without_a_part_stay_zero_whatever_the_normalisation_makes_of_zero() -> None:
    net = network()
    given = factors()
    given["a"].gradients[0, 2] = 0
    given["a"].inputs[1, 3] = 0
    with torch.no_grad():
        net.transform_of("a").input_mean += 1
        net.transform_of("a").gradient_mean += 1
    changed = net(given)["a"]
    for request, token in ((0, 2), (1, 3)):
        assert not changed.inputs[request, token].any()
        assert not changed.gradients[request, token].any()
    assert changed.inputs[0, 1].all()


def test_nan_stays_nan_and_in_its_request() -> None:
    given = factors()
    given["a"].gradients[0, 0] = float("nan")
    changed = network()(given)["a"]
    assert changed.gradients[0, 0].isnan().all()
    assert changed.gradients[1].isfinite().all()


@pytest.mark.parametrize("parts", [(10,), (1, 9), (3, 0, 4, 3)])
def test_statistics_do_not_depend_on_the_parts_they_are_gathered_from(parts: tuple[int, ...]) -> None:
    rows = 100 + torch.randn(10, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    statistics = Statistics.empty(4, rows.device)
    for part in rows.split(list(parts)):
        statistics.add(part)
    torch.testing.assert_close(statistics.mean, rows.mean(0))
    torch.testing.assert_close(statistics.deviation, rows.std(0))


def test_the_deviation_of_a_single_row_is_unknown() -> None:
    statistics = Statistics.empty(2, torch.device("cpu"))
    statistics.add(torch.ones(1, 2))
    assert statistics.deviation.isnan().all()
