"""The edit request: one fact to write, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EditRequest"]


@dataclass(frozen=True, slots=True)
class EditRequest:
    """One fact to write into a model, with the field names EasyEdit uses.

    Attributes:
        prompt: text the model is to continue with `target_new`; contains `subject` exactly once.
        subject: the entity whose fact changes, verbatim as in `prompt`.
        target_new: the new answer, stripped of surrounding white space.
        ground_truth: the old answer; edit success compares against it. None if unknown.
        rephrase_prompt: another wording of `prompt`, for generalisation.
        locality_prompt: a prompt about something else, whose answer must not change.
        locality_ground_truth: the right answer to `locality_prompt`.
    """

    prompt: str
    subject: str
    target_new: str
    ground_truth: str | None = None
    rephrase_prompt: str | None = None
    locality_prompt: str | None = None
    locality_ground_truth: str | None = None

    @property
    def prefix(self) -> str:
        """The prompt's text before the subject."""
        return self.prompt[: self.prompt.index(self.subject)]

    @property
    def suffix(self) -> str:
        """The prompt's text after the subject."""
        return self.prompt[self.prompt.index(self.subject) + len(self.subject) :]

    def __str__(self) -> str:
        return f"{self.prompt!r} → {self.target_new!r}"
