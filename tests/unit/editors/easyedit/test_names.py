from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from collapse_tests.editors.easyedit.algorithms import algorithm_of
from collapse_tests.editors.easyedit.imports import import_algorithm
from collapse_tests.editors.easyedit.installation import VARIABLE, find_installation
from collapse_tests.editors.registry import check_editor
from collapse_tests.errors import UsageError

STAND_IN = Path(__file__).parent / "stand_in"


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(STAND_IN))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("easyedit:ROME", "ROME"),
        ("easyedit:rome", "ROME"),
        ("EasyEdit:r-rome", "R-ROME"),
        ("easyedit:alphaedit", "AlphaEdit"),
        ("easyedit:memit-fe", "MEMIT-FE"),
    ],
)
def test_names_are_found_in_any_letter_case(name: str, expected: str) -> None:
    assert algorithm_of(name).name == expected
    check_editor(name)


def test_an_unknown_name_gets_a_suggestion_and_the_known_ones() -> None:
    with pytest.raises(UsageError, match="did you mean 'easyedit:MEMIT'") as caught:
        check_editor("easyedit:memitt")
    assert "ROME, R-ROME" in str(caught.value)
    with pytest.raises(UsageError, match="'easyedit:' is not known: Give easyedit: and one of FT"):
        check_editor("easyedit:")


@pytest.mark.parametrize("name", ["IKE", "serac", "GRACE", "WISE", "LoRA", "QLoRA", "MELO", "FT-Api", "SimIE", "DINM"])
def test_what_edits_no_weights_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(UsageError, match=rf"'easyedit:{name}' cannot be gated: it \w+ .*Give one of FT, ROME"):
        check_editor(f"easyedit:{name}")


def test_without_an_easyedit_it_is_said_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(UsageError, match=f"EasyEdit is not there: clone .* and set {VARIABLE}"):
        check_editor("easyedit:ROME")


def test_a_variable_that_names_no_checkout_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(UsageError, match=f"{VARIABLE}: .*is no EasyEdit checkout; give the directory"):
        check_editor("easyedit:ROME")


def test_an_installed_package_is_found_without_importing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)
    monkeypatch.syspath_prepend(STAND_IN)
    assert find_installation().package == STAND_IN / "easyeditor"
    assert "easyeditor" not in sys.modules


def test_checking_a_name_imports_no_framework() -> None:
    script = (
        "import sys; from collapse_tests.editors.registry import check_editor; check_editor('easyedit:ROME'); "
        "sys.exit(bool({'torch', 'transformers'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_missing_library_is_named_with_what_to_install() -> None:
    with pytest.raises(UsageError, match="'a_library_nobody_has', which is missing: pip install a_library_nobody_has"):
        import_algorithm(algorithm_of("easyedit:KN"), find_installation())


def test_an_algorithm_that_this_easyedit_lacks_is_named() -> None:
    with pytest.raises(UsageError, match=r"has no module easyeditor\.models\.pmet.*; use a current version"):
        import_algorithm(algorithm_of("easyedit:PMET"), find_installation())


def test_an_import_leaves_no_trace() -> None:
    before = dict(sys.modules)
    first = import_algorithm(algorithm_of("easyedit:ROME"), find_installation())
    second = import_algorithm(algorithm_of("easyedit:ROME"), find_installation())
    assert first is not second
    assert first.__dict__ is not second.__dict__
    for name in ("easyeditor", "matplotlib", "datasets", "hydra"):
        assert sys.modules.get(name) is before.get(name)
    assert not [name for name in sys.modules if name.startswith("easyeditor.")]
