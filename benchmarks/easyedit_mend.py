"""Compare MEND with EasyEdit's: the same hypernetwork gives the same edits.

    python -m benchmarks.easyedit_mend --easyedit PATH_OF_A_CHECKOUT

Both run in this process on the same tiny random models with the same random hypernetworks. EasyEdit needs the package
`higher`. `--record FILE` writes EasyEdit's numbers to the file that the unit tests compare with.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from rich.table import Table

from benchmarks.mend_reference import REQUESTS, Edit, Reference, Setup, change_of, empty_setups
from benchmarks.recorded import commit_of
from benchmarks.surroundings import wide_console
from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.mend.hypernetwork import Hypernetwork
from collapse_tests.errors import InfrastructureError, UsageError
from collapse_tests.models.editable import EditableModel, is_transposed

__all__ = ["EasyEditMend", "main"]

#: Updates further apart than this, relative to their norm, do not come of rounding.
TOLERANCE = 1e-4

_PACKAGE = "easyeditor"

console = wide_console(120)


class EasyEditMend:
    """MEND of an EasyEdit checkout, with our hypernetwork's numbers put into its own.

    Args:
        checkout: root of the checkout.

    Raises:
        UsageError: `checkout` is none, or its modules cannot be imported.
    """

    def __init__(self, checkout: Path) -> None:
        if not (checkout / _PACKAGE / "models" / "mend" / "mend_main.py").is_file():
            raise UsageError(f"--easyedit {checkout}: no EasyEdit checkout; give the directory that holds {_PACKAGE}/")
        self.checkout = checkout
        with _stub_packages(checkout / _PACKAGE) as trainer:
            try:
                self._algorithm: Any = importlib.import_module(f"{_PACKAGE}.trainer.algs.MEND").MEND
                trainer.MEND = self._algorithm  # type: ignore[attr-defined]
                self._main: Any = importlib.import_module(f"{_PACKAGE}.models.mend.mend_main")
            except ImportError as error:
                raise UsageError(f"--easyedit {checkout}: importing its MEND failed: {error}") from error

    def change(self, model: EditableModel, network: Hypernetwork, request: EditRequest) -> dict[str, torch.Tensor]:
        """EasyEdit's ΔW by weight, (out_features, in_features) each; it edits a copy of the model."""
        copy = deepcopy(model.model).float().requires_grad_()  # it freezes what it does not edit
        tokenizer = deepcopy(model.tokenizer)
        tokenizer.padding_side, tokenizer.pad_token = "left", tokenizer.eos_token
        settings = _settings(model, network)
        executor = self._main.MendRewriteExecutor()
        executor.model, executor.tokenizer, executor.is_init = copy, tokenizer, True
        executor.alg = self._algorithm(copy, settings, lambda: deepcopy(copy))
        _transfer(network, executor.alg)
        fields = {"prompt": request.prompt, "subject": request.subject, "target_new": request.target_new}
        before = {name: model.parameter(name).detach().clone() for name in network.names}
        edited, _ = executor.apply_to_model(copy, tokenizer, [fields], settings)
        after = dict(edited.named_parameters())
        changes = {name: after[name].detach() - before[name] for name in network.names}
        return {name: one.T if is_transposed(model.linear(name)) else one for name, one in changes.items()}


def _settings(model: EditableModel, network: Hypernetwork) -> SimpleNamespace:
    """What its code reads, beside the numbers of the hypernetwork."""
    layers = network.transform_of(network.names[0]).residual_layers
    kind = model.config.model_type
    return SimpleNamespace(
        inner_params=list(network.names),
        model_name="llama" if kind == "llama" else "gpt",  # it dispatches by what is in the name
        model_class="LlamaForCausalLM" if kind == "llama" else "GPT2LMHeadModel",
        device="cpu",
        model_parallel=False,
        edit_lr=0.0,
        n_hidden=len(layers) - 1,
        rank=layers[0].u.shape[1],
        mlp_class="IDMLP",
        init="id",
        act="relu",
        norm=True,
        combine=True,
        one_sided=False,
        x_only=False,
        delta_only=False,
        shared=True,
    )


@torch.no_grad()
def _transfer(network: Hypernetwork, algorithm: Any) -> None:
    """Copy our hypernetwork's numbers into its."""
    algorithm.edit_lrs.copy_(network.edit_lrs)
    for name in network.names:
        ours = network.transform_of(name)
        theirs = algorithm.mend[str((ours.in_features, ours.out_features))]
        theirs.u_mean.copy_(ours.input_mean)
        theirs.u_std.copy_(ours.input_deviation)
        theirs.v_mean.copy_(ours.gradient_mean)
        theirs.v_std.copy_(ours.gradient_deviation)
        for layer, target in zip(ours.residual_layers, theirs.mlp.layers, strict=True):
            target.u.copy_(layer.u)
            target.v.copy_(layer.v)
            target.bias.copy_(layer.bias)
            target.mode_scale.weight.copy_(layer.scale)
            target.mode_shift.weight.copy_(layer.shift)


@contextmanager
def _stub_packages(root: Path) -> Iterator[ModuleType]:
    """Empty parent packages and a stand-in for a library only imported; yields the trainer's package."""
    stubs = {
        name: _module(name, root.joinpath(*name.split(".")[1:]))
        for name in (
            _PACKAGE,
            *(f"{_PACKAGE}.{part}" for part in ("models", "models.mend", "util", "trainer", "trainer.algs")),
        )
    }
    stubs["hydra"] = _module("hydra")
    hidden = {name: sys.modules[name] for name in stubs if name in sys.modules}
    sys.modules.update(stubs)
    try:
        yield stubs[f"{_PACKAGE}.trainer"]
    finally:
        for name in [name for name in sys.modules if name in stubs or name.startswith(f"{_PACKAGE}.")]:
            del sys.modules[name]
        sys.modules.update(hidden)


def _module(name: str, path: Path | None = None) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None, is_package=path is not None)
    if path is not None:
        module.__path__ = [str(path)]
    return module


def compare(peer: EasyEditMend, setup: Setup) -> list[float]:
    """‖ΔW − ΔW'‖ / ‖ΔW'‖ over all weights together, per request.

    Raises:
        InfrastructureError: one of the two changed the model, so that the rest would compare different things.
    """
    model = setup.model()
    editor = setup.editor(model)
    errors = []
    for request in REQUESTS:
        theirs = peer.change(model, editor.network, request)
        ours = change_of(model, editor, request)
        difference = torch.cat([(ours[name] - theirs[name]).flatten() for name in theirs])
        errors.append(float(difference.norm() / torch.cat([one.flatten() for one in theirs.values()]).norm()))
    if changed := model.changed_tensors():
        raise InfrastructureError(f"{setup.name}: {', '.join(changed)} of the unedited model has changed")
    return errors


def record(peer: EasyEditMend, path: Path) -> None:
    """Write EasyEdit's numbers on the reference setups to `path`."""
    setups = []
    for setup in empty_setups():
        model = setup.model()
        network = setup.editor(model).network
        edits = tuple(
            {name: Edit.of(change) for name, change in peer.change(model, network, request).items()}
            for request in REQUESTS
        )
        setups.append(setup.model_copy(update={"edits": edits, "logits_norm": setup.guard(model)}))
    versions = {"EasyEdit": commit_of(peer.checkout)} | {
        name: version(name) for name in ("torch", "transformers", "higher")
    }
    Reference(recorded_with=versions, requests=REQUESTS, setups=tuple(setups)).write(path)
    console.print(f"recorded {len(setups)} setups in {path}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison; 0 if every update agrees, 1 if not, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.easyedit_mend", description=__doc__.split("\n")[0])
    parser.add_argument("--easyedit", type=Path, required=True, metavar="PATH", help="an EasyEdit checkout")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write EasyEdit's numbers and stop")
    arguments = parser.parse_args(argv)
    try:
        peer = EasyEditMend(arguments.easyedit)
        if arguments.record is not None:
            record(peer, arguments.record)
            return 0
        rows = [(setup.name, compare(peer, setup)) for setup in empty_setups()]
    except (UsageError, InfrastructureError) as error:
        console.print(f"[bold red]error:[/] {error}", highlight=False)
        return 2
    table = Table(title="MEND: agreement with EasyEdit", caption=f"tolerance {TOLERANCE:g}")
    for column in ("model and hidden layers", "edits", "largest error of ΔW"):
        table.add_column(column, justify="right")
    for name, errors in rows:
        table.add_row(name, str(len(errors)), f"{max(errors):.1e}")
    console.print(table)
    return 0 if all(max(errors) <= TOLERANCE for _, errors in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
