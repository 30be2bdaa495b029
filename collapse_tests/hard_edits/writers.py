"""Writers propose samples in place of templates: asked, checked, asked again; nothing is dropped without a count.

The study had GPT-3.5 write its samples; any causal language model or service can be the writer here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from collapse_tests.edit_request import EditRequest
from collapse_tests.hard_edits.answers import Sample, Unfit, parse_answer
from collapse_tests.hard_edits.asking import Ask
from collapse_tests.hard_edits.candidates import (
    Candidate,
    LeftOut,
    Proposals,
    RequestKey,
    Wanted,
    locality_of,
    numbers_for,
    propose,
    request_key,
    spread,
    unless_known,
)
from collapse_tests.hard_edits.option_names import renamed
from collapse_tests.hard_edits.subjects import Category, SubjectRepository

__all__ = ["ATTEMPTS", "WRITTEN", "Answer", "SampleWriter", "opened_writer", "write_samples"]

#: How often a sample is asked for at most.
ATTEMPTS = 3
#: The `relation` of candidates that no template made.
WRITTEN = "written"

_EXAMPLES = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one ask.

    Attributes:
        text: as it came.
        flaw: why it is not worth reading, if so.
    """

    text: str
    flaw: Unfit | None = None


class SampleWriter(Protocol):
    """Something that answers asks."""

    @property
    def batch(self) -> int:
        """How many asks to give it at once."""

    def write(self, asks: Sequence[Ask]) -> list[Answer]:
        """One answer for each ask, in order.

        Raises:
            UsageError, InfrastructureError: it cannot answer at all.
        """


@contextmanager
def opened_writer(model: str, url: str | None, say: Callable[[str], None]) -> Iterator[SampleWriter]:
    """The writer behind `--writer-model` and `--writer-url`.

    Args:
        model: of the service at `url`; without one as for `--model`, loaded here.
        url: base address of an OpenAI-compatible service.
        say: takes one line of progress at a time.

    Raises:
        UsageError: there is no such model, or the client of such services is not installed.
        InfrastructureError: the model could not be loaded.
    """
    if url is not None:
        from collapse_tests.hard_edits.endpoint_writer import opened_endpoint

        with opened_endpoint(url, model) as writer:
            yield writer
        return
    from collapse_tests.hard_edits.local_writer import LocalWriter
    from collapse_tests.models.loading import load_model
    from collapse_tests.settings import Settings

    with renamed("--model", "--writer-model"):
        loaded = load_model(model, Settings(editors=(), models=(model,)), say)
    yield LocalWriter(loaded)


@dataclass(slots=True)
class _Run:
    """What is known while samples are written."""

    wanted: Wanted
    found: Proposals
    examples: Sequence[Candidate]
    seen: set[RequestKey] = field(default_factory=set)
    written: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


def write_samples(
    writer: SampleWriter,
    repository: SubjectRepository,
    wanted: Wanted,
    found: Proposals,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Have samples written about the subjects, in the order of `propose`, into `found`.

    An answer that does not fit is counted and its sample asked for again, `ATTEMPTS` times in all. Where the writer
    fails for good, `found` holds what had been written by then.

    Args:
        writer: answers.
        repository: its subjects are asked about; its facts give examples, known truths and locality prompts.
        wanted: which samples.
        found: gets candidates and counts.
        say: takes one line of progress at a time.

    Raises:
        UsageError, InfrastructureError: the writer cannot answer.
    """
    run = _Run(wanted, found, propose(repository, Wanted(wanted.seed)).candidates)
    homes: dict[str, Category] = {}
    for category in repository.categories:
        for subject in category.subjects:
            if wanted.keep(subject):
                homes[subject] = category
            else:
                found.left_out[LeftOut.NOT_ONE_TOKEN] += 1
    facts = (fact for fact in repository.facts() if fact.subject in homes)
    subjects = list(dict.fromkeys(fact.subject for fact in spread(facts, wanted.seed))) * (wanted.per_subject or 1)
    while subjects:
        # No subject twice in a batch, so that every ask can name what is written about its subject already.
        room = min(writer.batch, len(homes))
        if wanted.limit is not None:
            room = min(room, wanted.limit - len(found.candidates))
        if room < 1:
            break
        batch, subjects = subjects[:room], subjects[room:]
        _write_batch(writer, [(subject, homes[subject]) for subject in batch], run)
        say(f"{len(found.candidates):,} requests written, {len(subjects):,} more to ask for")


def _write_batch(writer: SampleWriter, wanted: list[tuple[str, Category]], run: _Run) -> None:
    """Ask for one sample of each, and again for those that did not fit."""
    made: dict[int, Candidate] = {}
    try:
        for attempt in range(ATTEMPTS):
            open_places = [index for index in range(len(wanted)) if index not in made]
            asks = [_ask(*wanted[index], attempt, run) for index in open_places]
            answers = writer.write(asks) if asks else []
            for index, answer in zip(open_places, answers, strict=True):
                candidate = _candidate(answer, *wanted[index], run)
                if isinstance(candidate, Candidate):
                    made[index] = candidate
                else:
                    run.found.left_out[candidate] += 1
        run.found.given_up += [subject for index, (subject, _) in enumerate(wanted) if index not in made]
    finally:
        run.found.candidates += [made[index] for index in sorted(made)]


def _ask(subject: str, category: Category, attempt: int, run: _Run) -> Ask:
    # Another choice of examples each time, as a model that decodes greedily repeats itself on the same text.
    numbers = numbers_for(run.wanted.seed, category.name, subject, str(attempt), str(len(run.written[subject])))
    others = [one.request for one in run.examples if one.category != category.name] or [
        one.request for one in run.examples if one.request.subject != subject
    ]
    examples = numbers.sample(others, min(_EXAMPLES, len(others)))
    return Ask(subject, category.name, examples, tuple(run.written[subject]))


def _candidate(answer: Answer, subject: str, category: Category, run: _Run) -> Candidate | Unfit | LeftOut:
    values = category.subjects[subject]
    sample = answer.flaw or parse_answer(answer.text, subject, tuple(values.values()))
    if not isinstance(sample, Sample):
        return sample
    numbers = numbers_for(run.wanted.seed, category.name, subject, sample.prompt)
    relation = numbers.choice(list(values))
    locality = locality_of(category, relation, subject, (sample.ground_truth, sample.target_new), numbers)
    request = EditRequest(
        prompt=sample.prompt,
        subject=subject,
        target_new=sample.target_new,
        ground_truth=sample.ground_truth,
        locality_prompt=locality[0] if locality else None,
        locality_ground_truth=locality[1] if locality else None,
    )
    if sample.prompt not in run.written[subject]:
        run.written[subject].append(sample.prompt)
    made = unless_known(Candidate(request, category.name, WRITTEN), run.seen, run.wanted.excluded)
    if isinstance(made, Candidate):
        run.seen.add(request_key(request))
    return made
