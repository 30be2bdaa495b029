"""An editor made and prepared; whatever its code raises becomes an `EditorError`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from collapse_tests.cache import cache_dir
from collapse_tests.editors.protocol import Editor, EditorContext, PreparedEditor, Progress
from collapse_tests.editors.registry import create_editor
from collapse_tests.errors import CollapseError, EditorError
from collapse_tests.models.editable import EditableModel
from collapse_tests.settings import Settings

__all__ = ["make_editor", "prepare_for"]


def make_editor(name: str, model: str, settings: Settings) -> Editor:
    """The editor of this name, with its hyper-parameters for the model of that name.

    Raises:
        UsageError: no such editor, or hyper-parameters it cannot have.
        EditorError: its code raised.
    """
    with _blamed_on(name):
        return create_editor(name, model, settings)


def prepare_for(model: EditableModel, editor: Editor, name: str, settings: Settings, progress: Progress) -> None:
    """The editor's one-off work for a model, if it has any; whether the model is as before is for the caller to check.

    Args:
        model: to prepare for.
        editor: to prepare.
        name: of the editor, for messages.
        settings: of the run.
        progress: tells the user how far it is.

    Raises:
        CollapseError: raised by the editor on purpose.
        EditorError: its code raised anything else.
    """
    if isinstance(editor, PreparedEditor):
        with _blamed_on(name):
            editor.prepare(model, EditorContext(settings.seed, cache_dir(), progress))


@contextmanager
def _blamed_on(editor: str) -> Iterator[None]:
    try:
        yield
    except CollapseError:
        raise
    except Exception as error:
        raise EditorError(f"{editor} raised {type(error).__name__}: {error}") from error
