"""The text a writer answers with → a sample, or the one reason why it is none."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StrictStr, StringConstraints, ValidationError

from collapse_tests.hard_edits.asking import MAX_WORDS
from collapse_tests.hard_edits.subjects import same

__all__ = ["Sample", "Unfit", "parse_answer"]

_FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)

_Field = Annotated[StrictStr, StringConstraints(strip_whitespace=True)]


class Unfit(StrEnum):
    """Why an answer is no sample."""

    NOT_FINITE = "chosen among logits that are not finite"
    EMPTY = "answer is empty"
    NO_OBJECT = "answer is not one JSON object"
    FIELDS = "object lacks a field, has another, or one that is no text"
    BLANK = "a field is empty"
    START = "prompt does not begin with the subject"
    SUBJECT = "prompt holds the subject again, or nothing else"
    BRACES = "prompt holds braces"
    ENDED = "prompt ends like a sentence, or in a gap"
    GIVEN_AWAY = "prompt holds an ending"
    LONG = f"an ending has more than {MAX_WORDS} words"
    SAME = "target_new is ground_truth"
    TRUE = "target_new is true of the subject"


class Sample(BaseModel):
    """What a fitting answer says.

    Attributes:
        prompt: begins with the subject.
        target_new: the false ending.
        ground_truth: the true ending, as the writer has it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: _Field
    target_new: _Field
    ground_truth: _Field


def parse_answer(text: str, subject: str, truths: tuple[str, ...] = ()) -> Sample | Unfit:
    """The sample in `text`, which is one JSON object with nothing around it but white space or a code fence.

    Args:
        text: the answer as it came.
        subject: what the sample is to be about.
        truths: known true answers about the subject, of any relation.
    """
    bare = text.strip()
    if fenced := _FENCE.fullmatch(bare):
        bare = fenced[1]
    if not bare:
        return Unfit.EMPTY
    try:
        sample = Sample.model_validate_json(bare)
    except ValidationError as error:
        kind = error.errors()[0]["type"]
        return Unfit.NO_OBJECT if kind in ("json_invalid", "model_type") else Unfit.FIELDS
    return _flaw_of_prompt(sample, subject) or _flaw_of_endings(sample, truths) or sample


def _flaw_of_prompt(sample: Sample, subject: str) -> Unfit | None:
    prompt = sample.prompt
    rest = prompt.removeprefix(subject)
    flaws = {
        Unfit.BLANK: not (prompt and sample.target_new and sample.ground_truth),
        Unfit.START: not prompt.startswith(subject) or rest[:1].isalnum(),
        Unfit.SUBJECT: subject in rest or not rest.strip(),
        Unfit.BRACES: "{" in prompt or "}" in prompt,
        Unfit.ENDED: prompt.endswith((".", "!", "?", "…", "_")),
        Unfit.GIVEN_AWAY: _holds(rest, sample.target_new) or _holds(rest, sample.ground_truth),
    }
    return next((flaw for flaw, found in flaws.items() if found), None)


def _flaw_of_endings(sample: Sample, truths: tuple[str, ...]) -> Unfit | None:
    if max(len(sample.target_new.split()), len(sample.ground_truth.split())) > MAX_WORDS:
        return Unfit.LONG
    if same(sample.target_new, sample.ground_truth):
        return Unfit.SAME
    return Unfit.TRUE if any(same(sample.target_new, truth) for truth in truths) else None


def _holds(text: str, words: str) -> bool:
    """Whether `words` are in `text` as whole words, regardless of case."""
    return re.search(rf"(?<!\w){re.escape(words.casefold())}(?!\w)", text.casefold()) is not None
