"""One of EasyEdit's algorithms as an editor."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.apply_function import run_apply_function
from collapse_tests.editors.easyedit.algorithms import Algorithm, algorithm_of
from collapse_tests.editors.easyedit.caches import Caches
from collapse_tests.editors.easyedit.hyperparameters import (
    build_hyperparameters,
    check_fields,
    given_fields,
    model_label,
)
from collapse_tests.editors.easyedit.imports import import_algorithm
from collapse_tests.editors.easyedit.installation import Installation, find_installation
from collapse_tests.editors.moments import MomentSource
from collapse_tests.editors.protocol import EditorContext
from collapse_tests.errors import EditorError, UsageError
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.workload import whole_updates_in_memory
from collapse_tests.settings import Override, Settings
from collapse_tests.weight_update import WeightUpdate

__all__ = ["EasyEditEditor", "create_easyedit_editor"]


def create_easyedit_editor(name: str, settings: Settings) -> EasyEditEditor:
    """The editor behind `easyedit:ALGORITHM`.

    Raises:
        UsageError: no such algorithm, no EasyEdit, or a library that the algorithm needs is missing.
    """
    return EasyEditEditor(name, algorithm_of(name), find_installation(), given_fields(name, settings.overrides))


class EasyEditEditor:
    """Drives one algorithm of EasyEdit, a request at a time.

    Args:
        name: as the user gave it.
        algorithm: what to run.
        installation: where EasyEdit is.
        given: hyper-parameters of the user's.

    Raises:
        UsageError: the algorithm cannot be imported, or has no such hyper-parameter.
    """

    def __init__(
        self, name: str, algorithm: Algorithm, installation: Installation, given: Mapping[str, Override]
    ) -> None:
        self.name = name
        self._algorithm = algorithm
        self._installation = installation
        self._given = dict(given)
        self._main = import_algorithm(algorithm, installation)  # a copy of the module: its globals are this editor's
        check_fields(algorithm, self._main, given)
        self._caches: Caches | None = None
        self._seed = 0

    def prepare(self, model: EditableModel, context: EditorContext) -> None:
        """Generate context templates and second moments, as far as the algorithm needs them.

        Raises:
            UsageError: a hyper-parameter is wrong or its file missing.
        """
        self._seed = context.seed
        self._caches = Caches(self._algorithm, model, self.hyperparameters(model), self._source(), context)

    def hyperparameters(self, model: EditableModel) -> Any:
        """EasyEdit's hyper-parameter object for `model`, made anew because some methods write into theirs.

        Raises:
            UsageError: see `build_hyperparameters`; or a trained network is needed and not there.
        """
        found = build_hyperparameters(self._algorithm, self._main, self._installation, model, self._given)
        if self._algorithm.archive and not Path(str(found.archive)).is_file():
            raise UsageError(
                f"{self.name}.archive={found.archive}: {self._algorithm.name} needs a network trained for this model "
                f"with EasyEdit; give its file with --set {self.name}.archive=FILE"
            )
        if self._algorithm.projection:
            found.P_loc = __file__  # looked at for its existence only, without which everything is computed again
        return found

    def requests_at_once(self, model: EditableModel) -> int:
        """As many updates as the host should hold if each changes all weights; see `BoundedEditor`."""
        return whole_updates_in_memory(model)

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        """One update per request; see `Editor`. What EasyEdit raises passes through.

        Raises:
            EditorError: `prepare` was not called.
        """
        if self._caches is None:
            raise EditorError(f"{self.name}: prepare() has to be called before compute_updates()")
        with _named(model, model_label(model)):
            return run_apply_function(
                self.name,
                self._call,
                lambda: self.hyperparameters(model),
                model,
                requests,
                seed=self._seed,
                padding_side=self._algorithm.padding_side,
            )

    def _call(self, model: Any, tok: Any, requests: Any, hparams: Any, **options: Any) -> Any:
        assert self._caches is not None
        self._caches.install(self._main)
        owner, _, method = self._algorithm.function.rpartition(".")
        function = getattr(getattr(self._main, owner)(), method) if owner else getattr(self._main, method)
        try:
            return function(model, tok, requests, hparams, **options)
        finally:
            _unhook(model)

    def _source(self) -> MomentSource:
        names = {"corpus": "corpus", "tokens": "moment_tokens", "statistics": "statistics"}
        given = {field: self._given[name].value for field, name in names.items() if name in self._given}
        return MomentSource.model_validate(given)


def _unhook(model: Any) -> None:
    """Take away the hooks that MEND leaves in place, and what they stored on the weights."""
    for handle in vars(model).pop("handles", ()):
        handle.remove()
    for parameter in model.parameters():
        for name in ("__x__", "__delta__"):
            vars(parameter).pop(name, None)


@contextlib.contextmanager
def _named(model: EditableModel, label: str) -> Iterator[None]:
    """Let the model call itself `label`: EasyEdit tells families apart, and finds its caches, by that name."""
    before = model.config._name_or_path, model.model.name_or_path
    model.config._name_or_path = model.model.name_or_path = label
    try:
        yield
    finally:
        model.config._name_or_path, model.model.name_or_path = before
