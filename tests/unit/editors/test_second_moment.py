from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from collapse_tests.editors.second_moment import SecondMoment
from collapse_tests.errors import UsageError

WIDTH = 6
CPU = torch.device("cpu")


def moment() -> torch.Tensor:
    root = torch.randn(4 * WIDTH, WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return root.T @ root


def saved(path: Path, **arrays: Any) -> Path:
    named: dict[str, Any] = {f"mom2.{name}": np.asarray(array) for name, array in arrays.items()}
    np.savez(path / "moment.npz", **named)
    return path / "moment.npz"


@pytest.mark.parametrize("shape", [(WIDTH,), (3, WIDTH), (2, 3, WIDTH), (0, WIDTH)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_whitening_solves_with_the_moment(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    keys = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    found = SecondMoment(moment()).whiten(keys)
    assert found.dtype == dtype
    flat = torch.linalg.solve(moment(), keys.double().reshape(-1, WIDTH).T).T
    torch.testing.assert_close(found.double(), flat.reshape(shape), rtol=1e-5, atol=1e-7)


def test_the_identity_leaves_keys_alone_and_a_multiple_leaves_their_direction() -> None:
    keys = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(SecondMoment(torch.eye(WIDTH)).whiten(keys), keys)
    torch.testing.assert_close(SecondMoment(5 * torch.eye(WIDTH)).whiten(keys), keys / 5)


@pytest.mark.parametrize(
    "singular",
    [torch.zeros(WIDTH, WIDTH), torch.ones(WIDTH, WIDTH), -torch.eye(WIDTH)],
    ids=["zero", "rank one", "negative"],
)
def test_a_moment_that_is_not_positive_definite_is_refused(singular: torch.Tensor) -> None:
    with pytest.raises(UsageError, match=r"6 × 6.*not positive definite.*more tokens"):
        SecondMoment(singular)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_moment_that_is_not_finite_is_refused_for_that(value: float) -> None:
    broken = torch.eye(WIDTH)
    broken[1, 1] = value
    with pytest.raises(UsageError, match=r"6 × 6.*not finite.*dtype"):
        SecondMoment(broken)


def test_the_moment_stays_as_given() -> None:
    found = SecondMoment(moment().float(), tokens=50)
    assert found.tokens == 50
    assert found.moment.dtype == torch.float32
    assert torch.equal(found.moment, moment().float())


def test_the_inverse_of_a_sample_is_scaled_down_and_that_of_an_exact_moment_is_not() -> None:
    keys = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    exact = SecondMoment(moment()).whiten(keys)
    torch.testing.assert_close(SecondMoment(moment(), tokens=4 * WIDTH).whiten(keys), exact * 0.75)


def test_the_scaled_inverse_of_samples_is_right_on_average() -> None:
    truth, few = torch.linspace(0.5, 3, WIDTH, dtype=torch.float64), 5 * WIDTH
    samples = torch.randn(4000, few, WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    samples *= truth.sqrt()
    key = torch.ones(WIDTH, dtype=torch.float64)
    found = torch.stack([SecondMoment(sample.T @ sample / few, few).whiten(key) for sample in samples]).mean(0)
    # Exactly N − d_k over N − d_k − 1 for Gaussian keys; without the correction it would be N over that.
    torch.testing.assert_close(found, 24 / 23 / truth, rtol=0.02, atol=0)


@pytest.mark.parametrize("tokens", [1, WIDTH])
def test_no_more_tokens_than_inputs_are_refused_whatever_rounding_says(tokens: int) -> None:
    with pytest.raises(UsageError, match=rf"of {tokens} tokens.*more tokens"):
        SecondMoment(torch.eye(WIDTH), tokens)


# Where keys hardly reach --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("threshold", "rank"), [(0.1, 0), (0.3, 2), (1.5, 4), (10.0, WIDTH)])
def test_the_null_space_holds_the_directions_below_the_threshold(threshold: float, rank: int) -> None:
    values = torch.tensor([0.2, 0.25, 1.0, 1.25, 2.0, 5.0], dtype=torch.float64)
    axes, _ = torch.linalg.qr(moment())
    found = SecondMoment(axes @ torch.diag(values) @ axes.T).null_space(threshold)
    assert found.shape == (WIDTH, rank)
    assert found.dtype == torch.float64
    expected = axes[:, :rank] @ axes[:, :rank].T
    torch.testing.assert_close(found @ found.T, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_file_holds_a_sum_and_a_count(tmp_path: Path, dtype: type[np.floating[Any]]) -> None:
    path = saved(tmp_path, mom2=(24 * moment()).numpy().astype(dtype), count=24)
    keys = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(1))
    found = SecondMoment.read(path, WIDTH, CPU).whiten(keys)
    # Published files count as exact: the methods' hyper-parameters were tuned to them as they are.
    torch.testing.assert_close(found, SecondMoment(moment()).whiten(keys), rtol=1e-4, atol=1e-6)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.npz"):
        SecondMoment.read(tmp_path / "gone.npz", WIDTH, CPU)


@pytest.mark.parametrize("arrays", [{}, {"mom2": np.eye(WIDTH)}, {"count": 5}])
def test_missing_arrays_are_named(tmp_path: Path, arrays: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"moment\.npz.*the arrays mom2\.mom2 and mom2\.count"):
        SecondMoment.read(saved(tmp_path, **arrays), WIDTH, CPU)


@pytest.mark.parametrize(
    "arrays",
    [
        {"mom2": np.eye(WIDTH + 1), "count": 5},
        {"mom2": np.ones(WIDTH), "count": 5},
        {"mom2": np.eye(WIDTH), "count": 0},
    ],
)
def test_another_shape_or_no_tokens_are_refused(tmp_path: Path, arrays: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"the layer needs \(6, 6\)"):
        SecondMoment.read(saved(tmp_path, **arrays), WIDTH, CPU)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "moment.npz"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"moment\.npz"):
        SecondMoment.read(path, WIDTH, CPU)


def test_a_plain_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "moment.npy", np.eye(WIDTH))
    with pytest.raises(UsageError, match=r"moment\.npy"):
        SecondMoment.read(tmp_path / "moment.npy", WIDTH, CPU)


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    path = saved(tmp_path, mom2=np.array([{"a": 1}], dtype=object), count=5)
    with pytest.raises(UsageError, match=r"moment\.npz"):
        SecondMoment.read(path, WIDTH, CPU)


def test_the_corrected_moment_is_the_one_whose_inverse_whitens() -> None:
    numbers = torch.Generator().manual_seed(0)
    samples = torch.randn(40, 8, dtype=torch.float64, generator=numbers)
    moment = SecondMoment(samples.T @ samples / 40, tokens=40)
    key = torch.randn(8, dtype=torch.float64, generator=numbers)

    torch.testing.assert_close(moment.whiten(key), torch.linalg.inv(moment.corrected) @ key)
    assert not torch.allclose(moment.corrected, moment.moment)
