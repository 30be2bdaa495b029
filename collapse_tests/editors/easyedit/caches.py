"""What EasyEdit keeps in module globals: set from the model at hand before every call, and computed once per model.

EasyEdit looks these up by the model's name or not at all, so that a second model would meet the first one's. Filling
them also saves what it would do otherwise: sample templates without a seed, and with an attention mask that hides a
sampled text's own past from most models; download a corpus and count keys over it; write files into the working
directory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from collapse_tests.editors.contexts import context_templates
from collapse_tests.editors.easyedit.algorithms import Algorithm, Templates
from collapse_tests.editors.moments import MomentSource, second_moments
from collapse_tests.editors.protocol import EditorContext
from collapse_tests.editors.second_moment import SecondMoment
from collapse_tests.errors import UsageError
from collapse_tests.models.editable import EditableModel

__all__ = ["Caches"]

#: (tokens, number of texts) of methods with grouped templates; the others say theirs in a hyper-parameter.
_GROUPED_LENGTHS = ((10, 5),)


class Caches:
    """Values of one algorithm's module globals for one model.

    Args:
        algorithm: the algorithm.
        model: unedited.
        hyperparameters: EasyEdit's object.
        source: where second moments come from.
        context: seed and cache directory.

    Raises:
        UsageError: second moments are needed of a layer that is no MLP's output projection, or cannot be computed.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        model: EditableModel,
        hyperparameters: Any,
        source: MomentSource,
        context: EditorContext,
    ) -> None:
        self._templates = _templates(algorithm, model, hyperparameters, context)
        self._inverses: dict[tuple[str, str], torch.Tensor] = {}
        self._moments: dict[tuple[str, str], torch.Tensor] = {}
        self._projections: torch.Tensor | None = None
        whitens = algorithm.templates is Templates.FLAT and bool(getattr(hyperparameters, "mom2_adjustment", False))
        if not (algorithm.moments or whitens):
            return
        layers = _layers(model, hyperparameters)
        moments = second_moments(model, sorted(set(layers.values())), source, context)
        label = str(hyperparameters.model_name).replace("/", "_")
        if whitens:
            self._inverses = {(label, name): _inverse(moments[block]) for name, block in layers.items()}
        self._moments = {(label, name): moments[block].corrected.float().cpu() for name, block in layers.items()}
        if algorithm.projection:
            threshold = float(hyperparameters.nullspace_threshold)
            self._projections = torch.stack([_projection(moments[block], threshold) for block in layers.values()])

    def install(self, main: Any) -> None:
        """Put everything into EasyEdit's module `main`, and forget what earlier edits left there."""
        names = vars(main)
        if self._templates is not None:
            main.CONTEXT_TEMPLATES_CACHE = [*self._templates]
        if "COV_CACHE" in names:
            main.COV_CACHE = dict(self._moments)
        if "KZ_CACHE" in names:
            main.KZ_CACHE = {}
        if self._inverses:
            vars_of_compute_u: dict[str, Any] = main.compute_u.__globals__
            vars_of_compute_u["inv_mom2_cache"] = dict(self._inverses)
        if self._projections is not None:
            main.P, main.P_loaded = self._projections, True
            main.cache_c, main.cache_c_new = torch.zeros_like(self._projections), True


def _templates(
    algorithm: Algorithm, model: EditableModel, hyperparameters: Any, context: EditorContext
) -> list[Any] | None:
    if algorithm.templates is None:
        return None
    grouped = algorithm.templates is Templates.GROUPED
    lengths = _GROUPED_LENGTHS if grouped else _lengths(hyperparameters.context_template_length_params)
    bare, *generated = context_templates(model, lengths, context.seed, context.cache)
    return [[bare], generated] if grouped else [bare, *generated]


def _lengths(pairs: Sequence[Sequence[int]]) -> tuple[tuple[int, int], ...]:
    try:
        return tuple((int(tokens), int(count)) for tokens, count in pairs)
    except (TypeError, ValueError):
        raise UsageError(f"context_template_length_params={pairs!r}: give pairs such as [[5, 10], [10, 10]]") from None


def _layers(model: EditableModel, hyperparameters: Any) -> Mapping[str, int]:
    """Module path → block, of the layers whose second moments are looked up, in the order of `layers`."""
    patterns = getattr(hyperparameters, "rewrite_module_tmps", None) or [hyperparameters.rewrite_module_tmp]
    layers = {}
    for block in hyperparameters.layers:
        if not 0 <= int(block) < model.n_blocks:
            raise UsageError(
                f"layers={hyperparameters.layers}: model {model.name!r} has blocks 0 to {model.n_blocks - 1}"
            )
        for pattern in patterns:
            name = pattern.format(block)
            if name != model.family.mlp_output(block):
                raise UsageError(
                    f"{name}: second moments are computed for the MLP's output projection "
                    f"{model.family.mlp_output(block)} only; leave the other layers out"
                )
            layers[name] = int(block)
    return layers


def _inverse(moment: SecondMoment) -> torch.Tensor:
    inverse: torch.Tensor = torch.linalg.inv(moment.corrected.double())
    return inverse.float()


def _projection(moment: SecondMoment, threshold: float) -> torch.Tensor:
    """P = N Nᵀ with N the eigenvectors of C whose eigenvalue is below `threshold`, (d_k, d_k) on the CPU."""
    null_space = moment.null_space(threshold)
    projection: torch.Tensor = null_space @ null_space.T
    return projection.float().cpu()
