"""What `mine` and `rank` share: which requests, models and editors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from collapse_tests.command_options import Computing, check_computing
from collapse_tests.commands import parsed, parsed_if_given
from collapse_tests.option_values import parse_names, parse_path, parse_positive_integer
from collapse_tests.settings import DEFAULT_PPL_LIMIT, DEFAULT_PPL_TEXTS, Downstream, Settings

if TYPE_CHECKING:
    from collapse_tests.cases import Case

__all__ = [
    "EditorsOption",
    "LimitOption",
    "ModelsOption",
    "RequestsArgument",
    "SampleOption",
    "SkipBrokenOption",
    "checked_cases",
    "run_settings",
]

RequestsArgument = Annotated[
    list[str], typer.Argument(metavar="REQUESTS...", help="Sets or files, as for pytest --edits.")
]
ModelsOption = Annotated[str, typer.Option(metavar="NAME,...", help="As for pytest --model.")]
EditorsOption = Annotated[str, typer.Option(metavar="NAME,...", help="As for pytest --editor.")]
LimitOption = Annotated[str | None, typer.Option(metavar="N", help="Take at most the first N requests of each set.")]
SampleOption = Annotated[str | None, typer.Option(metavar="N", help="Draw N requests of each set, by --seed.")]
SkipBrokenOption = Annotated[bool, typer.Option("--skip-broken", help="As for pytest.")]


def run_settings(
    requests: Sequence[str],
    editor: str,
    model: str,
    how: Computing,
    *,
    limit: str | None,
    sample: str | None,
    skip_broken: bool,
    ppl_limit: float = DEFAULT_PPL_LIMIT,
    ppl_texts: str = DEFAULT_PPL_TEXTS,
) -> Settings:
    """The settings of edits that only ME-PPL is measured of, from the texts of options.

    Raises:
        UsageError: what is wrong with one of them, with its name.
    """
    sources = [name for text in requests for name in parsed("REQUESTS", parse_names, text)]
    return how.applied_to(
        Settings(
            editors=tuple(dict.fromkeys(parsed("--editor", parse_names, editor))),
            models=tuple(dict.fromkeys(parsed("--model", parse_names, model))),
            edits=tuple(dict.fromkeys(parse_path(source) for source in sources)),
            edits_limit=parsed_if_given("--edits-limit", parse_positive_integer, limit),
            edits_sample=parsed_if_given("--edits-sample", parse_positive_integer, sample),
            skip_broken=skip_broken,
            ppl_limit=ppl_limit,
            ppl_texts=ppl_texts,
            downstream=Downstream.NEVER,
        )
    )


def checked_cases(settings: Settings) -> tuple[Case, ...]:
    """The cases, after everything that would else be stumbled over once a model is loaded.

    Raises:
        UsageError: a set, file, editor or model does not exist, or is unusable; or an editor cannot have a
            hyper-parameter it was given.
    """
    from collapse_tests.cases import expand_cases
    from collapse_tests.datasets.texts import load_texts
    from collapse_tests.editors.registry import check_editor, check_hyperparameters
    from collapse_tests.models.specs import resolve_spec

    for editor in settings.editors:
        check_editor(editor)
    check_computing(settings)
    for model in settings.models:
        resolve_spec(model)
    load_texts(settings.ppl_texts or DEFAULT_PPL_TEXTS)
    cases = expand_cases(settings)
    check_hyperparameters(settings)  # last, as it imports the editors concerned, and so frameworks
    return cases
