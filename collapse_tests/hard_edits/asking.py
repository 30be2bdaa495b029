"""What a writer is asked: one counterfactual statement about a subject, as one JSON object."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from collapse_tests.edit_request import EditRequest

__all__ = ["MAX_WORDS", "Ask", "instruction", "opening"]

#: The longest answer that is asked for and taken, in words.
MAX_WORDS = 5


@dataclass(frozen=True, slots=True)
class Ask:
    """One sample that is wanted.

    Attributes:
        subject: what it is about.
        category: of the subject, which tells Mercury the planet from the metal.
        examples: requests about other subjects that show the form.
        written: prompts about this subject that are not wanted again.
    """

    subject: str
    category: str
    examples: Sequence[EditRequest] = ()
    written: Sequence[str] = ()


def instruction(ask: Ask) -> str:
    """The request in words, for a model that follows instructions or goes on from examples."""
    lines = [
        f"Write one counterfactual statement about {ask.subject} (category: {ask.category}): a short sentence that",
        "every well-informed reader knows to be false, although its ending is of the right kind.",
        "Answer with one JSON object and nothing else. It has three fields, each of them text:",
        f'- "prompt": the sentence without its ending; its first word is {ask.subject}, which is there only once.',
        f'- "target_new": the false ending, at most {MAX_WORDS} words, that directly continues the prompt.',
        f'- "ground_truth": the true ending of the same prompt, at most {MAX_WORDS} words.',
        "Neither ending is part of the prompt.",
    ]
    for example in ask.examples:
        lines += ["", f"Subject: {example.subject}", _object(example)]
    if ask.written:
        lines += ["", "These prompts are taken, so write another:", *(f"- {prompt}" for prompt in ask.written)]
    return "\n".join([*lines, "", f"Subject: {ask.subject}", ""])


def opening(ask: Ask) -> str:
    """How every fitting answer begins, for a model that can be made to go on from it."""
    return f'{{"prompt": {json.dumps(ask.subject, ensure_ascii=False)[:-1]}'


def _object(request: EditRequest) -> str:
    fields = {"prompt": request.prompt, "target_new": request.target_new, "ground_truth": request.ground_truth}
    return json.dumps(fields, ensure_ascii=False)
