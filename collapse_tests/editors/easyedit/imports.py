"""Importing single modules of EasyEdit.

The package as a whole imports dozens of libraries that the methods here do not use. Its parent packages are therefore
replaced by empty ones while the few modules needed are imported, and so are libraries that are imported only.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from collapse_tests.editors.easyedit.algorithms import Algorithm
from collapse_tests.editors.easyedit.installation import PACKAGE, Installation
from collapse_tests.errors import UsageError

__all__ = ["import_algorithm", "import_modules", "stub_packages"]

#: Packages of EasyEdit whose own `__init__` would import everything.
_PARENTS = ("", "models", "util", "trainer", "trainer.algs", "dataset")

#: Libraries that the modules name but that no edit calls, and the names taken from each.
_UNUSED = {
    "matplotlib": (),
    "matplotlib.style": ("context",),
    "matplotlib.pyplot": (),
    "datasets": ("load_dataset",),
    "hydra": (),
    "sklearn": (),
    "sklearn.manifold": ("TSNE",),
}

#: Names that importing `easyeditor.trainer` whole would bind and that modules take from it.
_TRAINERS = ("MEND", "SERAC", "SERAC_MULTI", "MALMEN")

#: Import name → distribution to install, where the two differ.
_DISTRIBUTIONS = {"yaml": "pyyaml", "PIL": "pillow", "cv2": "opencv-python"}


def import_algorithm(algorithm: Algorithm, installation: Installation) -> Any:
    """EasyEdit's main module of `algorithm`, a copy of its own that no other import sees.

    Raises:
        UsageError: this EasyEdit does not have it, or a library it imports is not installed.
    """
    (main,) = import_modules(installation, (f"models.{algorithm.module}",), trainer=algorithm.trainer)
    for name in (algorithm.function.partition(".")[0], algorithm.schema):
        if not hasattr(main, name):
            raise UsageError(
                f"EasyEdit in {installation.package}: {main.__name__} has no {name}; use a current version"
            )
    return main


def import_modules(installation: Installation, names: tuple[str, ...], trainer: str | None = None) -> list[Any]:
    """Modules below `easyeditor`, by their dotted names there.

    Args:
        installation: where they are.
        names: such as `models.rome.rome_main`.
        trainer: `module.Class` below `trainer.algs` to put where `easyeditor.trainer` would have it.

    Raises:
        UsageError: one does not exist, or a library it imports is not installed.
    """
    with stub_packages(installation.package):
        try:
            if trainer is not None:
                module, _, cls = trainer.rpartition(".")
                trained = importlib.import_module(f"{PACKAGE}.trainer.algs.{module}")
                setattr(sys.modules[f"{PACKAGE}.trainer"], cls, getattr(trained, cls))
            return [importlib.import_module(f"{PACKAGE}.{name}") for name in names]
        except ModuleNotFoundError as error:
            raise UsageError(_explain(error, installation)) from error
        except ImportError as error:
            raise UsageError(f"EasyEdit in {installation.package}: importing it failed: {error}") from error


def _explain(error: ModuleNotFoundError, installation: Installation) -> str:
    name = error.name or str(error)
    if name.startswith(PACKAGE):
        return f"EasyEdit in {installation.package} has no module {name}; use a current version of it"
    library = name.partition(".")[0]
    return (
        f"EasyEdit needs the module {library!r}, which is missing: pip install {_DISTRIBUTIONS.get(library, library)}"
    )


@contextlib.contextmanager
def stub_packages(root: Path) -> Iterator[None]:
    """Empty parent packages, and empty stand-ins for libraries only imported, for the time of an import."""
    stubs = {name: _module(name, **dict.fromkeys(attributes)) for name, attributes in _UNUSED.items()}
    for parent in _PARENTS:
        name = f"{PACKAGE}.{parent}".rstrip(".")
        stubs[name] = _module(name, root.joinpath(*parent.split(".")) if parent else root)
    vars(stubs[f"{PACKAGE}.trainer"]).update(dict.fromkeys(_TRAINERS))
    stubs |= {name: module for name, module in sys.modules.items() if name in _UNUSED}  # real ones do no harm
    hidden = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == PACKAGE}
    added = stubs.keys() - (sys.modules.keys() - hidden.keys())
    for name in hidden:
        del sys.modules[name]
    sys.modules.update(stubs)
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name in added or name.partition(".")[0] == PACKAGE]:
            del sys.modules[name]
        sys.modules.update(hidden)


def _module(name: str, path: Path | None = None, **attributes: object) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None, is_package=path is not None)  # some libraries look for it
    if path is not None:
        module.__path__ = [str(path)]
    vars(module).update(attributes)
    return module
