"""The subject repository: widely known subjects by category, with true facts and the wordings that ask for them.

'The Butterfly Effect of Model Editing', section 7 and appendix A.6, collects single-word subjects of common categories
and has counterfactual samples written about them. Here the facts come along, so that templates can write the samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictStr, model_validator

__all__ = ["Category", "Fact", "Relation", "SubjectRepository", "same"]


def same(text: str, other: str) -> bool:
    """Whether two texts differ in nothing but case and outer white space."""
    return text.strip().casefold() == other.strip().casefold()


@dataclass(frozen=True, slots=True)
class Fact:
    """One true statement: `value` answers the wording of `relation` for `subject`."""

    category: str
    relation: str
    subject: str
    value: str


def _plain(text: str) -> str:
    if not text.strip():
        raise ValueError(f"{text!r} is empty; give some text")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = text[error.start]
        raise ValueError(f"{half!r} is half a surrogate pair; write the character itself") from None
    if text != text.strip():
        raise ValueError(f"{text!r} begins or ends with white space; remove it")
    return text


def _name(text: str) -> str:
    if "{" in text or "}" in text:
        raise ValueError(f"{text!r} holds a brace, which marks the subject's place in a template; remove it")
    return text


def _template(text: str) -> str:
    found = text.count("{}")
    if found != 1 or text.count("{") + text.count("}") != 2:
        raise ValueError(f"{text!r} has {found} places for the subject or a stray brace; write {{}} exactly once")
    return text


def _starting(text: str) -> str:
    if not text.startswith("{}"):
        raise ValueError(f"{text!r} does not begin with the subject; put {{}} first")
    if not text.removeprefix("{}").strip():
        raise ValueError(f"{text!r} says nothing about the subject; write how the sentence goes on")
    return text


_Text = Annotated[StrictStr, AfterValidator(_plain)]
_Name = Annotated[_Text, AfterValidator(_name)]
_Template = Annotated[_Text, AfterValidator(_template)]
_Prompt = Annotated[_Template, AfterValidator(_starting)]


class _Part(BaseModel):
    """Immutable; a misspelt field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Relation(_Part):
    """How to ask for one kind of fact.

    Attributes:
        prompt: begins with `{}`, the subject's place; the answer follows directly.
        rephrase: another wording, with `{}` anywhere.
    """

    prompt: _Prompt
    rephrase: _Template


class Category(_Part):
    """Subjects that share relations.

    Attributes:
        name: unique in the repository.
        relations: by name.
        subjects: by subject, the true value of each relation it has.
    """

    name: _Text
    relations: Annotated[dict[_Name, Relation], Field(min_length=1)]
    subjects: Annotated[dict[_Name, Annotated[dict[_Name, _Text], Field(min_length=1)]], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> Category:
        for subject, values in self.subjects.items():
            for relation in values:
                self._check_fact(subject, relation)
        for relation in self.relations:
            if len(self.values(relation)) < 2:
                raise ValueError(
                    f"relation {relation!r}: fewer than two distinct values, so that none can be the target of "
                    "another subject; give more subjects a value, or remove the relation"
                )
        return self

    def _check_fact(self, subject: str, relation: str) -> None:
        if relation not in self.relations:
            known = ", ".join(self.relations)
            raise ValueError(f"subject {subject!r}: unknown relation {relation!r}; this category has {known}")
        prompt = self.relations[relation].prompt.replace("{}", subject)
        if prompt.count(subject) > 1:
            raise ValueError(
                f"subject {subject!r}: it is more than once in {prompt!r}, so that its position is unclear; "
                f"reword the prompt of relation {relation!r}"
            )

    def values(self, relation: str) -> list[str]:
        """The distinct true values of a relation, regardless of case, in the order of the file."""
        found: dict[str, str] = {}
        for values in self.subjects.values():
            if relation in values:
                found.setdefault(values[relation].casefold(), values[relation])
        return list(found.values())

    def facts(self) -> Iterator[Fact]:
        """Every fact, subject by subject."""
        for subject, values in self.subjects.items():
            for relation, value in values.items():
                yield Fact(self.name, relation, subject, value)


class SubjectRepository(_Part):
    """All categories; no subject is in two of them, and none twice in one."""

    categories: Annotated[list[Category], Field(min_length=1)]

    @model_validator(mode="after")
    def _distinct(self) -> SubjectRepository:
        names: set[str] = set()
        for category in self.categories:
            if category.name.casefold() in names:
                raise ValueError(f"category {category.name!r}: there is another of this name; rename one")
            names.add(category.name.casefold())
        homes: dict[str, str] = {}
        for category in self.categories:
            for subject in category.subjects:
                if (home := homes.get(subject.casefold())) is not None:
                    raise ValueError(
                        f"category {category.name!r}, subject {subject!r}: it is in category {home!r} already; "
                        "keep one of the two"
                    )
                homes[subject.casefold()] = category.name
        return self

    def facts(self) -> list[Fact]:
        """Every fact, category by category."""
        return [fact for category in self.categories for fact in category.facts()]

    def category(self, name: str) -> Category:
        """The category of that name."""
        return next(category for category in self.categories if category.name == name)
