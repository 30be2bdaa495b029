"""Training requests made from a list of facts of this project: what to train on where a user gives nothing.

Each fact is asked in several wordings and given a wrong answer of the right kind, that of another subject of the same
relation. No subject, prompt or rephrasing occurs in the shipped request sets, which are there to test with.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

import yaml

from collapse_tests.datasets.reading import read_shipped
from collapse_tests.edit_request import EditRequest

__all__ = ["FACTS_FILE", "Relation", "generated_requests", "read_relations"]

FACTS_FILE = "mend_training.yaml"

#: Requests per fact, each with other wordings or another answer.
_PER_FACT = 2


@dataclass(frozen=True, slots=True)
class Relation:
    """Facts of one kind.

    Attributes:
        prompts: wordings with `{}` for the subject, three or more.
        answers: subject to its right answer.
    """

    prompts: tuple[str, ...]
    answers: dict[str, str]


def read_relations() -> tuple[Relation, ...]:
    """The shipped facts."""
    return tuple(
        Relation(
            tuple(entry["prompts"]),
            {subject: answer for answer, subjects in entry["facts"].items() for subject in subjects},
        )
        for entry in yaml.safe_load(read_shipped(FACTS_FILE))
    )


def generated_requests(seed: int = 0) -> tuple[EditRequest, ...]:
    """Requests with a rephrasing and a locality prompt each; the same for the same seed.

    Half of the locality prompts ask the same of another subject in the same words, which is where an edit spreads
    first; the others ask anything.
    """
    relations = read_relations()
    numbers = random.Random(seed)
    return tuple(request for relation in relations for request in _of_relation(relation, relations, numbers))


def _of_relation(relation: Relation, others: tuple[Relation, ...], numbers: random.Random) -> Iterator[EditRequest]:
    answers = sorted(set(relation.answers.values()))
    for subject, truth in relation.answers.items():
        wordings = numbers.sample(list(permutations(relation.prompts, 2)), _PER_FACT)
        wrong = numbers.sample([answer for answer in answers if answer != truth], _PER_FACT)
        for place, ((prompt, rephrasing), target) in enumerate(zip(wordings, wrong, strict=True)):
            source = relation if place % 2 == 0 else numbers.choice(others)
            wording = prompt if source is relation else numbers.choice(source.prompts)
            neighbour = numbers.choice([name for name in source.answers if name != subject])
            yield EditRequest(
                prompt=prompt.replace("{}", subject),
                subject=subject,
                target_new=target,
                ground_truth=truth,
                rephrase_prompt=rephrasing.replace("{}", subject),
                locality_prompt=wording.replace("{}", neighbour),
                locality_ground_truth=source.answers[neighbour],
            )
