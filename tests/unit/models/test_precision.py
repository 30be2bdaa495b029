from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from collapse_tests.models import precision
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.precision import MatmulPrecision, resolve_precision, tf32_products
from fixtures.tiny_models import FAMILIES, make_model
from tests.unit.tiny import bits, dense

CPU, GPU = torch.device("cpu"), torch.device("cuda")
IDS = torch.tensor([[20, 30, 40, 50, 60, 70]])


@pytest.fixture(params=FAMILIES)
def short(request: pytest.FixtureRequest) -> EditableModel:
    """A model whose products are bfloat16 inside `fast_kernels`."""
    tiny = make_model(request.param)
    return EditableModel(tiny.model, tiny.tokenizer, tiny.name, MatmulPrecision.BFLOAT16)


@torch.no_grad()
def logits(model: EditableModel) -> torch.Tensor:
    return model.head(model.run_blocks(model.embed(IDS), 0))


@pytest.mark.parametrize(
    ("name", "device", "dtype", "expected"),
    [
        ("auto", GPU, torch.float32, "tf32"),
        ("tf32", GPU, torch.float32, "tf32"),
        ("bfloat16", GPU, torch.float32, "bfloat16"),
        ("float32", GPU, torch.float32, "float32"),
        ("tf32", CPU, torch.float32, "float32"),
        ("bfloat16", CPU, torch.float32, "bfloat16"),
        ("auto", GPU, torch.bfloat16, "float32"),
        ("bfloat16", CPU, torch.float64, "float32"),
        ("tf32", GPU, torch.float16, "float32"),
    ],
)
def test_what_a_name_means_depends_on_device_and_dtype(
    name: str, device: torch.device, dtype: torch.dtype, expected: str
) -> None:
    assert resolve_precision(name, device, dtype) == expected


@pytest.mark.parametrize(("has", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_on_a_cpu_follows_its_instructions(monkeypatch: pytest.MonkeyPatch, has: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": has}, raising=False)

    assert resolve_precision("auto", CPU, torch.float32) == expected


def test_auto_on_a_cpu_that_nobody_can_ask_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)

    assert resolve_precision("auto", CPU, torch.float32) == "float32"


def test_products_are_short_inside_the_block_alone(short: EditableModel) -> None:
    exact, before = logits(short), bits(short)
    with short.fast_kernels():
        rounded = logits(short)

    assert rounded.dtype == torch.float32
    error = float((rounded - exact).norm() / exact.norm())
    assert 1e-4 < error < 3e-2  # eight significant bits
    assert bits(short) == before
    assert torch.equal(logits(short), exact)


@pytest.mark.parametrize("tied", [False, True])
def test_weights_written_meanwhile_are_seen(short: EditableModel, tied: bool) -> None:
    if tied:  # the head's weight may go by the name of the embedding's
        short.model.get_output_embeddings().weight = short.model.get_input_embeddings().weight
    (embedding,) = (
        name for name, tensor in short.tensors().items() if tensor is short.model.get_input_embeddings().weight
    )
    update = dense(short, embedding if tied else short.mlp_output_weight(2), seed=1)
    with short.fast_kernels():
        unedited = logits(short)
        with short.applied(update):
            edited = logits(short)
            twin = EditableModel(deepcopy(short.model), short.tokenizer, short.name, MatmulPrecision.BFLOAT16)
        with short.fast_kernels():
            restored = logits(short)
        again = logits(short)
    for layer in twin.model.modules():
        vars(layer).pop("forward", None)  # the copy was taken with the layers replaced
    with twin.fast_kernels():
        expected = logits(twin)

    assert torch.equal(edited, expected)
    assert torch.equal(again, restored)
    assert not torch.allclose(edited, unedited)
    assert torch.equal(restored, unedited)


def test_layers_are_themselves_again_after_an_error(short: EditableModel) -> None:
    exact = logits(short)
    with pytest.raises(ZeroDivisionError), short.fast_kernels():
        raise ZeroDivisionError

    assert torch.equal(logits(short), exact)
    assert not [name for name, module in short.model.named_modules() if "forward" in vars(module)]


def test_gradients_reach_the_input(short: EditableModel) -> None:
    def gradient() -> torch.Tensor:
        hidden = short.embed(IDS).clone().requires_grad_()
        short.head(short.run_blocks(hidden, 0)).square().sum().backward()
        assert hidden.grad is not None
        return hidden.grad

    exact = gradient()
    with short.fast_kernels():
        rounded = gradient()

    assert float((rounded - exact).norm() / exact.norm()) < 5e-2


def test_tf32_is_allowed_for_a_while() -> None:
    before = torch.get_float32_matmul_precision()
    with tf32_products():
        assert torch.get_float32_matmul_precision() == "high"

    assert torch.get_float32_matmul_precision() == before


def test_every_precision_is_an_option() -> None:
    from collapse_tests.option_values import MATMUL_PRECISIONS

    assert set(MATMUL_PRECISIONS) == {"auto", *precision.MatmulPrecision}
