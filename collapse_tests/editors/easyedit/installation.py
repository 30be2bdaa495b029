"""Finding the EasyEdit a user has: a checkout or an installed package. Nothing of it is imported here."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from collapse_tests.errors import UsageError

__all__ = ["PACKAGE", "VARIABLE", "Installation", "find_installation"]

#: Environment variable that names a checkout.
VARIABLE = "PYTEST_COLLAPSE_EASYEDIT"

#: Name of EasyEdit's package.
PACKAGE = "easyeditor"


@dataclass(frozen=True, slots=True)
class Installation:
    """Where EasyEdit is.

    Attributes:
        package: directory of the package.
    """

    package: Path

    @property
    def hparams(self) -> Path:
        """Directory of its hyper-parameter files, beside the package; an installed package may have none."""
        return self.package.parent / "hparams"

    @classmethod
    def of_checkout(cls, checkout: Path) -> Installation:
        """The installation in a checkout.

        Raises:
            UsageError: `checkout` is none.
        """
        package = checkout.expanduser().resolve() / PACKAGE
        if not (package / "models").is_dir():
            raise UsageError(f"{str(checkout)!r} is no EasyEdit checkout; give the directory that holds {PACKAGE}/")
        return cls(package)


def find_installation() -> Installation:
    """The checkout `PYTEST_COLLAPSE_EASYEDIT` names, else the installed package.

    Raises:
        UsageError: there is none.
    """
    if given := os.environ.get(VARIABLE):
        try:
            return Installation.of_checkout(Path(given))
        except UsageError as error:
            raise UsageError(f"{VARIABLE}: {error}") from None
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            f"EasyEdit is not there: clone https://github.com/zjunlp/EasyEdit and set {VARIABLE} to the checkout, "
            f"or install a package {PACKAGE}"
        )
    return Installation(Path(next(iter(spec.submodule_search_locations))))
