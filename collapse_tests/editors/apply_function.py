"""The call shape that ROME, MEMIT and EasyEdit share: `apply_<method>_to_model(model, tok, requests, hparams, …)`.

Such a function edits the model in place and returns it with copies of the weights it changed. What counts here is
what really changed; the copies only serve as a check.
"""

from __future__ import annotations

import contextlib
import inspect
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.in_place import InPlaceRecorder
from collapse_tests.editors.protocol import EditorContext
from collapse_tests.errors import EditorError
from collapse_tests.models.editable import EditableModel, is_transposed
from collapse_tests.models.workload import whole_updates_in_memory
from collapse_tests.weight_update import Delta, DenseDelta, LowRankDelta, WeightUpdate

__all__ = ["ApplyFunctionEditor", "as_low_rank", "customary_state", "is_apply_function"]

#: Highest rank that a change of a layer is looked for in: the edits of one fact have rank one.
MAX_RANK = 16

#: Characters of an editor's output that are kept.
MAX_PRINTED = 4000

#: ‖Δ − left · right‖ / ‖Δ‖ that passes for none, and that rounding of the stored weights may at most explain.
_EXACT, _ROUNDED = 1e-6, 1e-3

_REQUESTS = {"request", "requests"}
_HYPERPARAMETERS = {"hparams", "hyperparams", "hyperparameters"}


def is_apply_function(target: object) -> bool:
    """Whether a callable has the shared call shape: (model, tokenizer, requests, hyper-parameters, …), by its names."""
    if not callable(target) or isinstance(target, type):
        return False
    try:
        parameters = list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):
        return False
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(positional) >= 4 and positional[2] in _REQUESTS and positional[3] in _HYPERPARAMETERS


class ApplyFunctionEditor:
    """An `apply_<method>_to_model` function as an editor; it is called with one request at a time.

    Args:
        name: for records.
        function: of the shared call shape.
        hyperparameters: attributes of the object the function gets. `device` and `model_name` are added if missing.
    """

    def __init__(self, name: str, function: Callable[..., Any], hyperparameters: Mapping[str, object]) -> None:
        self.name = name
        self._function = function
        self._hyperparameters = dict(hyperparameters)
        self._seed = 0

    def prepare(self, model: EditableModel, context: EditorContext) -> None:
        """Take over the seed of the run."""
        self._seed = context.seed

    def requests_at_once(self, model: EditableModel) -> int:
        """As many updates as the host should hold if each changes all weights; see `BoundedEditor`."""
        return whole_updates_in_memory(model)

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        """One update per request, low-rank where the change is; see `Editor`.

        Raises:
            EditorError: the function returned another model with other parameters. What it raises itself passes.
        """
        given = {"device": str(model.device), "model_name": model.name} | self._hyperparameters
        return run_apply_function(
            self.name, self._function, lambda: SimpleNamespace(**given), model, requests, seed=self._seed
        )


def run_apply_function(
    name: str,
    function: Callable[..., Any],
    hyperparameters: Callable[[], Any],
    model: EditableModel,
    requests: Sequence[EditRequest],
    *,
    seed: int,
    padding_side: str = "right",
) -> list[WeightUpdate]:
    """Updates that a function of the shared call shape makes, each from the model as it is.

    Args:
        name: of the editor, for errors.
        function: the function.
        hyperparameters: makes the object it gets, anew for each call, since some methods write into theirs.
        model: left as found.
        requests: edited one by one.
        seed: of torch's, numpy's and Python's generators at the start of every call.
        padding_side: side on which the tokenizer pads meanwhile.

    Raises:
        EditorError: the function returned another model with other parameters, or left something behind that is no
            change of a weight. What it raises itself passes.
    """
    recorder = InPlaceRecorder(name, model, seed)
    updates = []
    for request in requests:
        call = _Call(name, function, hyperparameters(), model, padding_side)
        update = recorder.record(partial(call.edit, request))
        deltas = {parameter: as_low_rank(model, parameter, delta) for parameter, delta in update.deltas.items()}
        notes = (*update.notes, *_wrong_originals(model, call.originals))
        printed = _shortened(update.printed or call.printed)
        updates.append(replace(update, deltas=deltas, notes=notes, printed=printed))
    return updates


@dataclass(slots=True)
class _Call:
    """One call of a function.

    Attributes:
        printed: its standard output.
        originals: parameter name → fingerprint of the weight it returned as the original one.
    """

    name: str
    function: Callable[..., Any]
    hyperparameters: Any
    model: EditableModel
    padding_side: str
    printed: str = ""
    originals: dict[str, torch.Tensor] = field(default_factory=dict)

    def edit(self, request: EditRequest) -> None:
        """Edit the model in place."""
        model, requests = self.model.model, [_fields(request)]
        with customary_state(self.model, self.padding_side), contextlib.redirect_stdout(io.StringIO()) as printed:
            model.requires_grad_(True)  # as it is when it has just been loaded
            result = self.function(model, self.model.tokenizer, requests, self.hyperparameters, **self._options())
        edited, originals = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
        self._take_over(model, edited)
        self.printed = printed.getvalue()
        self.originals = _fingerprints(originals)

    def _options(self) -> dict[str, bool]:
        """Keyword arguments of the call shape, where the function takes them."""
        options = {"copy": False, "return_orig_weights": True, "keep_original_weight": True}
        parameters = inspect.signature(self.function).parameters
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            return options
        return {name: value for name, value in options.items() if name in parameters}

    @torch.no_grad()
    def _take_over(self, module: nn.Module, edited: object) -> None:
        """Bring the weights of a returned copy into the model, so that one place looks for changes."""
        if edited is module or not isinstance(edited, nn.Module):
            return
        theirs, ours = dict(edited.named_parameters()), dict(module.named_parameters())
        shapes = {name: tuple(tensor.shape) for name, tensor in ours.items()}
        if {name: tuple(tensor.shape) for name, tensor in theirs.items()} != shapes:
            raise EditorError(
                f"{self.name} returned another model whose parameters are not those of {self.model.name!r}; "
                "only changes of the model's own weights can be measured"
            )
        for name, tensor in ours.items():
            tensor.copy_(theirs[name])


def _fields(request: EditRequest) -> dict[str, Any]:
    """A request in EasyEdit's layout; what is unknown is left out, and white space around the target too."""
    fields = {name: value for name, value in asdict(request).items() if value is not None}
    return fields | {"target_new": request.target_new.strip()}


@torch.no_grad()
def _fingerprint(tensor: torch.Tensor) -> torch.Tensor:
    return torch.stack([tensor.double().sum(), tensor.double().square().sum()]).cpu()


def _fingerprints(originals: object) -> dict[str, torch.Tensor]:
    """Of every tensor in what a function returned besides the model: whole copies would fill the memory."""
    if not isinstance(originals, Mapping):
        return {}
    return {str(name): _fingerprint(value) for name, value in originals.items() if isinstance(value, torch.Tensor)}


def _wrong_originals(model: EditableModel, originals: Mapping[str, torch.Tensor]) -> list[str]:
    """A note if a weight the function returned as original is not what the restored model has."""
    tensors = model.tensors()
    wrong = [
        name
        for name, print_ in originals.items()
        if name in tensors and not torch.allclose(print_, _fingerprint(tensors[name]), rtol=1e-9, equal_nan=True)
    ]
    return [f"the editor returned as original a weight {', '.join(wrong)} that the model did not have"] if wrong else []


@contextlib.contextmanager
def customary_state(model: EditableModel, padding_side: str = "right") -> Iterator[None]:
    """What such functions take for granted: no dropout, padding on one side with the end token.

    Padding side, padding token and gradient flags are put back.
    """
    tokenizer = model.tokenizer
    before = tokenizer.padding_side, tokenizer.pad_token
    # The token itself says how it is told from the text around it; setting it by name loses that.
    special = dict(getattr(tokenizer, "_special_tokens_map", {}))
    flags = [(parameter, parameter.requires_grad) for parameter in model.model.parameters()]
    model.model.eval()
    tokenizer.padding_side, tokenizer.pad_token = padding_side, tokenizer.eos_token
    try:
        yield
    finally:
        tokenizer.padding_side, tokenizer.pad_token = before
        getattr(tokenizer, "_special_tokens_map", {}).update(special)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def _shortened(text: str) -> str:
    """`text`, cut in the middle to `MAX_PRINTED` characters."""
    if len(text) <= MAX_PRINTED:
        return text
    gap = f"\n… {len(text) - MAX_PRINTED} characters more …\n"
    kept = MAX_PRINTED - len(gap)
    return f"{text[: kept - kept // 2]}{gap}{text[len(text) - kept // 2 :]}"


def as_low_rank(model: EditableModel, name: str, delta: Delta) -> Delta:
    """`delta` as a `LowRankDelta` if it is one numerically, else as it is.

    A range finder with one power iteration (Halko et al. 2011, algorithm 4.4) in float64 proposes the factors; they
    are taken if what they leave out is below 1e-6 of the change, or within the rounding of the weight it was
    written into.
    """
    if not isinstance(delta, DenseDelta):
        return delta
    try:
        layer = model.linear(name)
    except EditorError:
        return delta
    matrix = (delta.delta.T if is_transposed(layer) else delta.delta).double()
    norm = float(torch.linalg.matrix_norm(matrix))
    if not (0 < norm < float("inf")):
        return delta
    weight = float(torch.linalg.vector_norm(model.parameter(name).double()))
    rounding = torch.finfo(model.dtype).eps / 2 if model.dtype in (torch.float32, torch.float64) else 0.0
    factors = _factors(matrix, min(max(_EXACT * norm, rounding * (weight + norm)), _ROUNDED * norm))
    if factors is None:
        return delta
    dtype = torch.promote_types(model.dtype, torch.float32)
    return LowRankDelta(factors[0].to(dtype), factors[1].to(dtype))


def _factors(matrix: torch.Tensor, tolerance: float) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Factors (out, r) and (r, in) with ‖matrix − left · right‖ ≤ `tolerance` and the least r ≤ `MAX_RANK`, or None."""
    columns = min(MAX_RANK + 8, *matrix.shape)
    numbers = torch.Generator().manual_seed(0)
    probes = torch.randn(matrix.shape[1], columns, generator=numbers, dtype=matrix.dtype).to(matrix.device)
    basis = torch.linalg.qr(matrix @ probes)[0]
    basis = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.T @ basis)[0])[0]
    left, values, right = torch.linalg.svd(basis.T @ matrix, full_matrices=False)
    left = basis @ (left * values)
    for rank in _candidates(values, tolerance, float(matrix.square().sum())):
        if float(torch.linalg.matrix_norm(matrix - left[:, :rank] @ right[:rank])) <= tolerance:
            return left[:, :rank].contiguous(), right[:rank].contiguous()
    return None


def _candidates(values: torch.Tensor, tolerance: float, energy: float) -> list[int]:
    """Ranks worth checking, ascending: what the singular values leave of the energy is near the tolerance or below."""
    left_over = energy - values.square().cumsum(0)
    slack = 4 * tolerance**2 + 1e-14 * energy
    return [rank for rank, rest in enumerate(left_over.tolist(), 1) if rank <= MAX_RANK and rest <= slack]
