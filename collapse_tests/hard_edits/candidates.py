"""Facts of the repository → counterfactual requests, in an order of which every beginning is diverse."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import zip_longest

from collapse_tests.edit_request import EditRequest
from collapse_tests.hard_edits.subjects import Category, Fact, SubjectRepository, same

__all__ = [
    "Candidate",
    "LeftOut",
    "Proposals",
    "RequestKey",
    "Wanted",
    "locality_of",
    "numbers_for",
    "propose",
    "request_key",
    "spread",
    "unless_known",
]

#: Subject and prompt, by which a request is known again whatever its target.
RequestKey = tuple[str, str]


class LeftOut(StrEnum):
    """Why a fact, or what a writer wrote, became no candidate."""

    NOT_ONE_TOKEN = "subject is not one token of the tokenizer"
    NO_TARGET = "no other value that can be the target"
    REPEATED = "same subject and prompt as an earlier candidate"
    EXCLUDED = "same subject and prompt as in a file of --exclude"
    PER_SUBJECT = "beyond --per-subject"
    LIMIT = "beyond --limit"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A request that may be hard, and where in the repository it comes from.

    Attributes:
        request: what to edit.
        category: of its subject.
        relation: of its fact; what wrote it, where that was no template.
    """

    request: EditRequest
    category: str
    relation: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which candidates are wanted.

    Attributes:
        seed: of the draws and of the order.
        limit: at most this many.
        per_subject: at most this many of one subject; None for one per fact, or one that is written.
        excluded: keys of requests that are not wanted again.
        keep: whether a subject is wanted.
    """

    seed: int = 0
    limit: int | None = None
    per_subject: int | None = None
    excluded: AbstractSet[RequestKey] = frozenset()
    keep: Callable[[str], bool] = lambda subject: True


@dataclass(slots=True)
class Proposals:
    """What came out of a repository.

    Attributes:
        candidates: in order.
        left_out: reason → how often; one reason for each fact, or answer of a writer, that became no candidate.
        given_up: subjects that a writer wrote nothing fitting about, once for each sample wanted.
    """

    candidates: list[Candidate] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    given_up: list[str] = field(default_factory=list)


def request_key(request: EditRequest) -> RequestKey:
    """What two requests share that write about the same thing, regardless of case and white space."""
    return request.subject.strip().casefold(), " ".join(request.prompt.split()).casefold()


def propose(repository: SubjectRepository, wanted: Wanted = Wanted()) -> Proposals:
    """One request per fact, with the value of another subject as its target.

    A smaller limit gives the beginning of the same list. The draws for a fact depend on the seed, the fact and the
    values of its relation, thus not on what else is left out.
    """
    found = Proposals()
    seen: set[RequestKey] = set()
    kept: dict[Fact, Candidate] = {}
    for category in repository.categories:
        for fact in category.facts():
            made = _candidate(category, fact, wanted.seed) if wanted.keep(fact.subject) else LeftOut.NOT_ONE_TOKEN
            if isinstance(made, Candidate):
                made = unless_known(made, seen, wanted.excluded)
            if isinstance(made, Candidate):
                seen.add(request_key(made.request))
                kept[fact] = made
            else:
                found.left_out[made] += 1
    used: Counter[str] = Counter()
    for fact in spread(kept, wanted.seed):
        used[fact.subject] += 1
        if wanted.per_subject is not None and used[fact.subject] > wanted.per_subject:
            found.left_out[LeftOut.PER_SUBJECT] += 1
        elif wanted.limit is not None and len(found.candidates) >= wanted.limit:
            found.left_out[LeftOut.LIMIT] += 1
        else:
            found.candidates.append(kept[fact])
    return found


def unless_known(
    candidate: Candidate, seen: AbstractSet[RequestKey], excluded: AbstractSet[RequestKey]
) -> Candidate | LeftOut:
    """`candidate`, unless a request about the same thing is there already or not wanted."""
    key = request_key(candidate.request)
    if key in excluded:
        return LeftOut.EXCLUDED
    return LeftOut.REPEATED if key in seen else candidate


def locality_of(
    category: Category, relation: str, subject: str, answers: Sequence[str], numbers: random.Random
) -> tuple[str, str] | None:
    """A prompt about another subject of the category with its true answer, both unlike the edited ones.

    Args:
        category: the subject's.
        relation: what the prompt asks for.
        subject: the edited subject.
        answers: the edited fact's old and new answer.
        numbers: of the draw.

    Returns:
        (prompt, answer); None if every other subject shares an answer.
    """
    others = [
        (other, values[relation])
        for other, values in category.subjects.items()
        if relation in values and other != subject and not any(same(values[relation], answer) for answer in answers)
    ]
    if not others:
        return None
    other, answer = numbers.choice(others)
    return category.relations[relation].prompt.replace("{}", other), answer


def spread(facts: Iterable[Fact], seed: int) -> Iterator[Fact]:
    """The facts in turn over categories, in each over subjects, and in these over relations."""
    by_category: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        by_category[fact.category].append(fact)
    names = sorted(by_category, key=lambda name: (numbers_for(seed, name).random(), name))
    for row in zip_longest(*(_rounds(by_category[name], seed) for name in names)):
        yield from (fact for fact in row if fact is not None)


def numbers_for(seed: int, *names: str) -> random.Random:
    """Random numbers that depend on the seed and on nothing but these names; text seeds are the same everywhere."""
    return random.Random("\0".join([str(seed), *names]))


def _candidate(category: Category, fact: Fact, seed: int) -> Candidate | LeftOut:
    """The request that `fact` becomes."""
    truths = [*category.subjects[fact.subject].values(), fact.subject]
    targets = [value for value in category.values(fact.relation) if not any(same(value, truth) for truth in truths)]
    if not targets:
        return LeftOut.NO_TARGET
    numbers = numbers_for(seed, fact.category, fact.subject, fact.relation)
    target = numbers.choice(targets)
    wording = category.relations[fact.relation]
    locality = locality_of(category, fact.relation, fact.subject, (fact.value, target), numbers)
    request = EditRequest(
        prompt=wording.prompt.replace("{}", fact.subject),
        subject=fact.subject,
        target_new=target,
        ground_truth=fact.value,
        rephrase_prompt=wording.rephrase.replace("{}", fact.subject),
        locality_prompt=locality[0] if locality else None,
        locality_ground_truth=locality[1] if locality else None,
    )
    return Candidate(request, fact.category, fact.relation)


def _rounds(facts: list[Fact], seed: int) -> Iterator[Fact]:
    """The facts of one category: one of every subject, then a second one of each, and so on."""
    by_subject: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        by_subject[fact.subject].append(fact)
    subjects = sorted(by_subject, key=lambda name: (numbers_for(seed, facts[0].category, name).random(), name))
    used: Counter[str] = Counter()
    while subjects:
        for subject in subjects:
            rest = by_subject[subject]
            chosen = min(rest, key=lambda fact: used[fact.relation])
            rest.remove(chosen)
            used[chosen.relation] += 1
            yield chosen
        subjects = [subject for subject in subjects if by_subject[subject]]
