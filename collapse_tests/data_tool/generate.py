"""`collapse-data generate`: candidates for hard edits from a repository of subjects; it edits nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collapse_tests.commands import parsed, parsed_if_given, reporting, sayer
from collapse_tests.errors import CollapseError, UsageError
from collapse_tests.option_values import parse_path, parse_positive_integer, parse_seed
from collapse_tests.settings import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from collapse_tests.hard_edits.candidates import Proposals, Wanted
    from collapse_tests.hard_edits.subjects import SubjectRepository

__all__ = ["generate"]


def generate(
    out: Annotated[str, typer.Option(metavar="FILE", help="Write the requests to this .jsonl file.")],
    subjects: Annotated[
        str, typer.Option(metavar="FILE", help="A YAML file of subjects and facts; default: the shipped one.")
    ] = "default",
    limit: Annotated[str | None, typer.Option(metavar="N", help="Keep at most the first N requests.")] = None,
    per_subject: Annotated[str | None, typer.Option(metavar="N", help="At most N requests of one subject.")] = None,
    seed: Annotated[str, typer.Option(metavar="N", help="Seeds the targets and the order.")] = "0",
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="No request with subject and prompt of one in this set or file. Repeats."),
    ] = None,
    single_token: Annotated[
        bool, typer.Option("--single-token", help="Keep only subjects that are one token for --model.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help=f"Whose tokenizer --single-token asks; default: {DEFAULT_MODEL}.")
    ] = None,
    writer_model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Have this model write samples, not templates; as for pytest --model."),
    ] = None,
    writer_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Ask an OpenAI-compatible service for --writer-model; its base address."),
    ] = None,
) -> None:
    """Counterfactual requests whose subject begins the prompt: candidates for edits that collapse a model."""
    with reporting() as console:
        from collapse_tests.datasets.writing import check_out
        from collapse_tests.hard_edits.candidate_files import excluded_keys
        from collapse_tests.hard_edits.candidates import Wanted
        from collapse_tests.hard_edits.subject_files import load_subjects

        path = Path(parsed("--out", parse_path, out))
        check_out(path)
        at_most = parsed_if_given("--limit", parse_positive_integer, limit)
        of_one = parsed_if_given("--per-subject", parse_positive_integer, per_subject)
        number = parsed("--seed", parse_seed, seed)
        if model is not None and not single_token:
            raise UsageError(f"--model {model!r} has no use without --single-token; add that, or leave --model out")
        if writer_url is not None and writer_model is None:
            raise UsageError(f"--writer-url {writer_url!r} does not say which model; add --writer-model NAME")
        repository = load_subjects(parsed("--subjects", parse_path, subjects))
        wanted = Wanted(number, at_most, of_one, excluded_keys(exclude or []))
        if single_token:
            wanted = replace(wanted, keep=_one_token(model or DEFAULT_MODEL, console))
        found = _proposals(path, repository, wanted, writer_model, writer_url, console)
        _finish(path, repository, found, console)


def _one_token(model: str, console: Console) -> Callable[[str], bool]:
    from collapse_tests.hard_edits.tokens import one_token_test

    return one_token_test(model, sayer(console))


def _proposals(
    path: Path, repository: SubjectRepository, wanted: Wanted, model: str | None, url: str | None, console: Console
) -> Proposals:
    """Candidates by templates, or from a writer; what that wrote is saved where it fails."""
    from collapse_tests.hard_edits.candidates import Proposals, propose

    if model is None:
        return propose(repository, wanted)
    from collapse_tests.hard_edits.candidate_files import write_candidates
    from collapse_tests.hard_edits.writers import opened_writer, write_samples

    found = Proposals()
    try:
        with opened_writer(model, url, sayer(console)) as writer:
            write_samples(writer, repository, wanted, found, sayer(console))
    except (CollapseError, KeyboardInterrupt):
        if found.candidates:
            write_candidates(path, found.candidates)
            sayer(console)(f"the {len(found.candidates):,} requests written so far are in {path}")
        raise
    return found


def _finish(path: Path, repository: SubjectRepository, found: Proposals, console: Console) -> None:
    """Print what became of the repository and write the requests.

    Raises:
        UsageError: there are none.
        InfrastructureError: the file cannot be written.
    """
    from collapse_tests.hard_edits.candidate_files import write_candidates
    from collapse_tests.hard_edits.tables import print_proposals

    print_proposals(repository, found, console)
    if not found.candidates:
        raise UsageError("no request is left, so nothing is written; see above why, and ask for less to be left out")
    write_candidates(path, found.candidates)
    sayer(console)(f"{len(found.candidates):,} requests are in {path}")
