"""One record of a request file, in any supported layout → an `EditRequest`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from collapse_tests.edit_request import EditRequest

__all__ = ["MARKERS", "Layout", "RecordError", "layout_of", "parse_record"]

#: Fields of which every record has at least one: what tells a record from an object of records.
MARKERS = frozenset({"prompt", "target_new", "requested_rewrite", "src", "alt"})


class Layout(StrEnum):
    """The layouts of records, each named as messages name it."""

    FLAT = "EasyEdit's flat layout"
    COUNTERFACT = "COUNTERFACT's layout"
    ZSRE = "ZsRE's layout"


class RecordError(ValueError):
    """A record is no edit request.

    Args:
        field: the field at fault, dotted where it is nested, or None for the record as a whole.
        problem: what is wrong and how to right it.
    """

    def __init__(self, field: str | None, problem: str) -> None:
        super().__init__(problem if field is None else f"field {field!r} {problem}")


def layout_of(record: object) -> Layout | None:
    """The layout that the fields of `record` are of, or None if of none."""
    if not isinstance(record, dict):
        return None
    if "requested_rewrite" in record:
        return Layout.COUNTERFACT
    if "prompt" in record or "target_new" in record:
        return Layout.FLAT
    return Layout.ZSRE if "src" in record or "alt" in record else None


def parse_record(record: object) -> EditRequest:
    """The edit request in `record`: EasyEdit's flat layout, or COUNTERFACT's or ZsRE's own.

    Raises:
        RecordError: the record is incomplete or inconsistent.
    """
    if not isinstance(record, dict):
        raise RecordError(None, f"is {_kind(record)}, not an object; give prompt, subject and target_new")
    match layout_of(record):
        case Layout.COUNTERFACT:
            return _from_counterfact(record)
        case Layout.FLAT:
            return _from_flat(record)
        case Layout.ZSRE:
            return _from_zsre(record)
    keys = ", ".join(map(str, list(record)[:6])) or "none"
    raise RecordError(
        None,
        f"has an unknown layout (keys: {keys}); "
        "give prompt, subject and target_new, or COUNTERFACT's requested_rewrite, or ZsRE's src, subject and alt",
    )


def _from_flat(record: Mapping[str, object]) -> EditRequest:
    prompt = _text(record, "prompt")
    subject = _text(record, "subject").strip()
    _check_braces(prompt, "prompt", slots=(0, 1))
    prompt = prompt.replace("{}", subject)
    _check_subject(prompt, subject, "subject")
    locality_prompt, locality_answer = _locality(record)
    return EditRequest(
        prompt=prompt,
        subject=subject,
        target_new=_answer(record, "target_new"),
        ground_truth=_answer(record, "ground_truth") if record.get("ground_truth") is not None else None,
        rephrase_prompt=_optional(record, "rephrase_prompt") or _optional(record, "rephrase"),
        locality_prompt=locality_prompt,
        locality_ground_truth=locality_answer,
    )


def _from_counterfact(record: Mapping[str, object]) -> EditRequest:
    at = "requested_rewrite"
    rewrite = _object(record, at)
    template = _text(rewrite, "prompt", f"{at}.prompt")
    subject = _text(rewrite, "subject", f"{at}.subject").strip()
    _check_braces(template, f"{at}.prompt", slots=(1,))
    prompt = template.replace("{}", subject)
    _check_subject(prompt, subject, f"{at}.subject")
    target_new = _object(rewrite, "target_new", f"{at}.target_new")
    target_true = _object(rewrite, "target_true", f"{at}.target_true")
    truth = _text(target_true, "str", f"{at}.target_true.str").strip()
    neighbour = _first(record.get("neighborhood_prompts"), "neighborhood_prompts")
    return EditRequest(
        prompt=prompt,
        subject=subject,
        target_new=_text(target_new, "str", f"{at}.target_new.str").strip(),
        ground_truth=truth,
        rephrase_prompt=_first(record.get("paraphrase_prompts"), "paraphrase_prompts"),
        locality_prompt=neighbour,
        # COUNTERFACT's neighbours are subjects that share the true answer.
        locality_ground_truth=truth if neighbour is not None else None,
    )


def _from_zsre(record: Mapping[str, object]) -> EditRequest:
    prompt = _text(record, "src")
    subject = _text(record, "subject").strip()
    _check_braces(prompt, "src", slots=(0,))
    _check_subject(prompt, subject, "subject", of="src")
    truth = _first(record.get("answers"), "answers")
    answer = _first(record.get("loc_ans"), "loc_ans")
    return EditRequest(
        prompt=prompt,
        subject=subject,
        target_new=_text(record, "alt").strip(),
        ground_truth=truth.strip() if truth is not None else None,
        rephrase_prompt=_optional(record, "rephrase"),
        # With its leading "nq question: ": locality compares a model with itself, and every published figure of it
        # was measured on the text as it stands.
        locality_prompt=_optional(record, "loc"),
        locality_ground_truth=answer.strip() if answer is not None else None,
    )


def _locality(record: Mapping[str, object]) -> tuple[str | None, str | None]:
    """(prompt, answer) of the flat fields, or of the first usable entry of EasyEdit's nested `locality`."""
    prompt, answer = _optional(record, "locality_prompt"), _optional(record, "locality_ground_truth")
    nested = record.get("locality")
    if prompt is None and nested is not None:
        for name, entry in _object(record, "locality").items():
            at = f"locality.{name}"
            item = entry[0] if isinstance(entry, list) and entry else entry
            if not isinstance(item, dict):
                raise RecordError(at, f"is {_kind(item)}, not an object; give prompt and ground_truth")
            prompt = _first(item.get("prompt"), f"{at}.prompt")
            answer = _first(item.get("ground_truth"), f"{at}.ground_truth")
            if prompt is not None:
                break
    return prompt, answer.strip() if answer is not None else None


def _object(record: Mapping[str, object], key: str, at: str | None = None) -> dict[str, object]:
    value = _required(record, key, at or key)
    if not isinstance(value, dict):
        raise RecordError(at or key, f"is {_kind(value)}, not an object; see the layouts in the documentation")
    return value


def _required(record: Mapping[str, object], key: str, at: str) -> object:
    if record.get(key) is None:
        raise RecordError(at, "is missing; add it")
    return record[key]


def _text(record: Mapping[str, object], key: str, at: str | None = None) -> str:
    return _checked(_required(record, key, at or key), at or key)


def _answer(record: Mapping[str, object], key: str) -> str:
    """A required answer without its outer white space; a list of one text counts as that text."""
    value = _required(record, key, key)
    if isinstance(value, list):
        if len(value) != 1:
            raise RecordError(key, f"is a list of {len(value)}; give one text")
        value = value[0]
    return _checked(value, key).strip()


def _optional(record: Mapping[str, object], key: str) -> str | None:
    value = record.get(key)
    return None if value in (None, "") else _checked(value, key)


def _first(value: object, at: str) -> str | None:
    """A text, or the first text of a (nested) list; None where there is none."""
    while isinstance(value, list):
        value = value[0] if value else None
    return None if value in (None, "") else _checked(value, at)


def _checked(value: object, at: str) -> str:
    if not isinstance(value, str):
        raise RecordError(at, f"is {_kind(value)}, not text; give a string")
    if not value.strip():
        raise RecordError(at, f"is {value!r}, empty or only white space; give some text")
    if not value.isascii():
        _check_encodable(value, at)
    return value


def _check_encodable(value: str, at: str) -> None:
    """Refuse half a surrogate pair, which JSON escapes can hold and no tokenizer or file can."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RecordError(
            at, f"is not text: {value[error.start]!r} is half a surrogate pair; write the character itself"
        ) from None


def _check_braces(prompt: str, at: str, slots: tuple[int, ...]) -> None:
    found = prompt.count("{}")
    stray = prompt.count("{") + prompt.count("}") - 2 * found
    if stray or found not in slots:
        some = "exactly one {}" if slots == (1,) else "no braces, or one {}"
        allowed = "none" if slots == (0,) else f"{some} for the subject"
        raise RecordError(at, f"is {prompt!r}, which has other braces than {allowed}; correct it")


def _check_subject(prompt: str, subject: str, at: str, *, of: str = "prompt") -> None:
    """Refuse a subject that is not at one place of the prompt, which is the field `of`."""
    first = prompt.find(subject)
    if first < 0:
        raise RecordError(at, f"is {subject!r}, which is not in the {of} {prompt!r}; write it as in the {of}")
    if first != prompt.rfind(subject):
        raise RecordError(
            at,
            f"is {subject!r}, which is more than once in the {of} {prompt!r}, "
            f"so that its position is unclear; reword the {of}",
        )


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)
