"""Compare MEMIT, EMMET and AlphaEdit with EasyEdit's: the same updates, of one request and of many together.

    python -m benchmarks.easyedit_memit --easyedit PATH_OF_A_CHECKOUT

Both run in this process on the same tiny random models, requests, context templates, second moments and
hyper-parameters. `--record` writes EasyEdit's numbers to the file that the unit tests compare with; `--real` adds the
default model, with moments computed for it.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from benchmarks import spreading_reference as reference
from benchmarks.surroundings import wide_console
from collapse_tests.cache import cache_dir
from collapse_tests.datasets.requests import load_requests
from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.apply_function import customary_state
from collapse_tests.editors.easyedit.imports import stub_packages
from collapse_tests.editors.protocol import EditorContext
from collapse_tests.editors.registry import create_editor
from collapse_tests.editors.spreading import SpreadingEditor
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.loading import load_model
from collapse_tests.models.specs import FAMILIES
from collapse_tests.settings import DEFAULT_MODEL, Override, Settings

__all__ = ["main"]

#: Method → (module below `easyeditor.models`, hyper-parameter class, execute function, folder of its files).
_PEERS = {
    "memit": ("memit.memit_main", "MEMITHyperParams", "execute_memit", "MEMIT"),
    "emmet": ("emmet.emmet_main", "EMMETHyperParams", "execute_emmet", "EMMET"),
    "alphaedit": ("alphaedit.AlphaEdit_main", "AlphaEditHyperParams", "execute_AlphaEdit", "AlphaEdit"),
}
_FILES = {"gpt2": "gpt2-xl.yaml", "gptj": "gpt-j-6B.yaml", "llama": "llama-7b.yaml"}

console = wide_console(120)


class Peer:
    """EasyEdit's three methods of a checkout, with templates and moments given rather than computed."""

    def __init__(self, checkout: Path) -> None:
        self.checkout = checkout
        modules = {method: peer[0] for method, peer in _PEERS.items()}
        with stub_packages(checkout / "easyeditor"):
            self._mains: dict[str, Any] = {
                method: importlib.import_module(f"easyeditor.models.{name}") for method, name in modules.items()
            }

    def updates(
        self, method: str, model: EditableModel, editor: SpreadingEditor, requests: Sequence[EditRequest]
    ) -> dict[str, torch.Tensor]:
        """Parameter name → ΔW, (out_features, in_features), of one joint edit; the model is left as found."""
        main, (_, schema, execute, _) = self._mains[method], _PEERS[method]
        settings = self._settings(method, getattr(main, schema), model, editor)
        fields = [
            {"prompt": one.prompt, "subject": one.subject, "target_new": one.target_new, "case_id": index}
            for index, one in enumerate(requests)
        ]
        self._preset(method, main, model, editor)
        with customary_state(model), contextlib.redirect_stdout(io.StringIO()):
            deltas = getattr(main, execute)(model.model, model.tokenizer, fields, settings)
        return {name: _oriented(model, name, delta) for name, delta in deltas.items()}

    def _preset(self, method: str, main: Any, model: EditableModel, editor: SpreadingEditor) -> None:
        bare, *others = editor.templates or ()
        main.CONTEXT_TEMPLATES_CACHE = [[bare], others]
        moments = {block: moment.corrected.float().cpu() for block, moment in editor.moments.items()}
        name = model.config._name_or_path.replace("/", "_")
        main.COV_CACHE.clear()
        main.COV_CACHE.update({(name, model.family.mlp_output(block)): moment for block, moment in moments.items()})
        if method == "alphaedit":
            threshold = editor.hyperparameters.model_dump()["nullspace_threshold"]
            bases = [editor.moments[block].null_space(threshold) for block in editor.blocks(model)]
            main.P = torch.stack([(basis @ basis.T).float().cpu() for basis in bases])
            main.cache_c, main.cache_c_new, main.P_loaded = torch.zeros_like(main.P), True, True

    def _settings(self, method: str, schema: Any, model: EditableModel, editor: SpreadingEditor) -> Any:
        family = FAMILIES[model.config.model_type]
        folder = self.checkout / "hparams" / _PEERS[method][3]
        file = folder / _FILES[family]
        if not file.is_file():  # AlphaEdit has none for this Llama
            file = folder / "llama3-8b.yaml"
        ours, blocks = editor.hyperparameters.model_dump(), editor.blocks(model)
        width = model.weight_shape(model.mlp_output_weight(blocks[0]))[1]
        own = {
            "memit": {"mom2_update_weight": editor.ridge(width)},
            "emmet": {"mom2_update_weight": editor.ridge(width) / 0.1, "emmet_lambda": 0.1},
            "alphaedit": {"L2": editor.ridge(width)},
        }[method]
        embedding = next(n for n, m in model.model.named_modules() if m is model.model.get_input_embeddings())
        tied = model.model.get_output_embeddings().weight is model.model.get_input_embeddings().weight
        return dataclasses.replace(
            schema.from_hparams(str(file)),
            layers=list(blocks),
            v_num_grad_steps=ours["steps"],
            v_lr=ours["learning_rate"],
            v_weight_decay=ours["weight_decay"],
            clamp_norm_factor=ours["clamp_norm_factor"],
            kl_factor=ours["kl_factor"],
            v_loss_layer=model.n_blocks - 1,
            lm_head_module=embedding if tied else "lm_head",
            fact_token="subject_last",
            device=str(model.device),
            model_name=model.name,
            **own,
        )


def _oriented(model: EditableModel, name: str, delta: Any) -> torch.Tensor:
    """ΔW as (out_features, in_features): MEMIT and EMMET give its factors, AlphaEdit the shape it was solved in."""
    matrix: torch.Tensor = delta[1] @ delta[0].T if isinstance(delta, tuple) else delta
    return matrix if tuple(matrix.shape) == model.weight_shape(name) else matrix.T


def compare(
    peer: Peer, method: str, model: EditableModel, editor: SpreadingEditor, requests: Sequence[EditRequest]
) -> tuple[float, float]:
    """Largest ‖ΔW − ΔW'‖ / ‖ΔW'‖ over blocks: over the requests one by one, and of all in one joint edit."""
    single = [
        reference.error(update, peer.updates(method, model, editor, [request]))
        for update, request in zip(editor.compute_updates(model, requests), requests, strict=True)
    ]
    joint = reference.error(editor.compute_joint_update(model, requests), peer.updates(method, model, editor, requests))
    assert not model.changed_tensors()
    return max(single), joint


def record(peer: Peer, path: Path) -> None:
    """Write EasyEdit's numbers on the reference setups to `path`."""
    entries = []
    for setup in reference.SETUPS:
        model, editor = setup.build()
        single = [peer.updates(setup.method, model, editor, [request]) for request in reference.REQUESTS]
        joint = peer.updates(setup.method, model, editor, reference.REQUESTS)
        entries.append(setup.recorded([*single, joint]))
    reference.write(path, entries)
    console.print(f"recorded {len(entries)} setups in {path}")


def real_setup(method: str, model: EditableModel) -> SpreadingEditor:
    """An editor of the default model as shipped, prepared; few tokens will do, as both sides get the same moments."""
    width = model.weight_shape(model.mlp_output_weight(0))[1]
    settings = Settings(editors=(method,), overrides=(Override(method, "moment_tokens", 4 * width),))
    editor = create_editor(method, DEFAULT_MODEL, settings)
    assert isinstance(editor, SpreadingEditor)
    editor.prepare(model, EditorContext(0, cache_dir()))
    return editor


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.easyedit_memit", description=__doc__.split("\n")[0])
    parser.add_argument("--easyedit", type=Path, required=True, metavar="PATH", help="an EasyEdit checkout")
    parser.add_argument("--real", type=int, default=0, metavar="N", help="requests on the default model")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write EasyEdit's numbers and stop")
    arguments = parser.parse_args(argv)
    peer = Peer(arguments.easyedit)
    if arguments.record is not None:
        record(peer, arguments.record)
        return 0
    rows: list[tuple[str, str, tuple[float, float]]] = []
    for setup in reference.SETUPS:
        model, editor = setup.build()
        rows.append((setup.family, setup.method, compare(peer, setup.method, model, editor, reference.REQUESTS)))
    if arguments.real:
        settings = Settings(editors=("memit",), matmul_precision="float32")
        model = load_model(DEFAULT_MODEL, settings, console.print)
        named = load_requests("normal")[: arguments.real]
        for method in _PEERS:
            editor = real_setup(method, model)
            rows.append((DEFAULT_MODEL, method, compare(peer, method, model, editor, [n.request for n in named])))
    table = Table(title="Largest relative difference of ΔW to EasyEdit's")
    for column in ("model", "method", "one request", "joint"):
        table.add_column(column, justify="left" if column in {"model", "method"} else "right")
    for name, method, errors in rows:
        table.add_row(name, method, *(f"{error:.1e}" for error in errors))
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
