"""What writers answer: samples, and the reason why a text is none."""

from __future__ import annotations

import json

import pytest

from collapse_tests.edit_request import EditRequest
from collapse_tests.hard_edits.answers import Sample, Unfit, parse_answer
from collapse_tests.hard_edits.asking import Ask, instruction, opening

GOOD = {"prompt": "Gold is a metal with the symbol", "target_new": "Fe", "ground_truth": "Au"}


def _with(**fields: object) -> str:
    return json.dumps({**GOOD, **fields})


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(GOOD),
        f"\n  {json.dumps(GOOD)}\n",
        f"```json\n{json.dumps(GOOD, indent=2)}\n```",
        f"```\n{json.dumps(GOOD)}\n```",
        _with(prompt=" Gold is a metal with the symbol ", target_new="Fe\n"),
    ],
)
def test_a_fitting_answer_is_a_sample(text: str) -> None:
    assert parse_answer(text, "Gold") == Sample(**GOOD)


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("", Unfit.EMPTY),
        (" \n", Unfit.EMPTY),
        ("``` ```", Unfit.EMPTY),
        ("I cannot help with that.", Unfit.NO_OBJECT),
        (f"Sure! {json.dumps(GOOD)}", Unfit.NO_OBJECT),
        (json.dumps(GOOD)[:-1], Unfit.NO_OBJECT),
        (f"{json.dumps(GOOD)}\n{json.dumps(GOOD)}", Unfit.NO_OBJECT),
        (json.dumps([GOOD]), Unfit.NO_OBJECT),
        ("null", Unfit.NO_OBJECT),
        ('{"prompt": "\\ud800"}', Unfit.NO_OBJECT),
        (json.dumps({"prompt": GOOD["prompt"], "target_new": "Fe"}), Unfit.FIELDS),
        (_with(note="x"), Unfit.FIELDS),
        (_with(target_new=None), Unfit.FIELDS),
        (_with(target_new=["Fe"]), Unfit.FIELDS),
        (_with(target_new=" "), Unfit.BLANK),
        (_with(prompt=""), Unfit.BLANK),
        (_with(prompt="The symbol of Gold is"), Unfit.START),
        (_with(prompt="gold has the symbol"), Unfit.START),
        (_with(prompt="Goldfish have the symbol"), Unfit.START),
        (_with(prompt="Gold, unlike fool's Gold, has the symbol"), Unfit.SUBJECT),
        (_with(prompt="Gold"), Unfit.SUBJECT),
        (_with(prompt="Gold has the {symbol}"), Unfit.BRACES),
        (_with(prompt="Gold has a symbol."), Unfit.ENDED),
        (_with(prompt="Gold has the symbol ___"), Unfit.ENDED),
        (_with(prompt="Gold has not au but"), Unfit.GIVEN_AWAY),
        (_with(prompt="Gold, symbol FE, is"), Unfit.GIVEN_AWAY),
        (_with(target_new="a letter that nobody has seen"), Unfit.LONG),
        (_with(ground_truth="fe"), Unfit.SAME),
        (_with(target_new="Yellow"), Unfit.TRUE),
    ],
)
def test_what_does_not_fit_has_one_reason(text: str, flaw: Unfit) -> None:
    assert parse_answer(text, "Gold", ("Au", "yellow")) is flaw


def test_an_ending_may_be_part_of_a_word_of_the_prompt() -> None:
    assert isinstance(parse_answer(_with(prompt="Gold fetches an auctioneer who says"), "Gold"), Sample)


def test_the_instruction_names_what_is_wanted() -> None:
    example = EditRequest("Iron has the symbol", "Iron", "Au", "Fe")
    text = instruction(Ask("Gold", "metals", [example], ["Gold is dug from"]))
    for part in ("Gold", "metals", '"prompt"', '"target_new"', '"ground_truth"', "- Gold is dug from"):
        assert part in text
    (shown,) = (line for line in text.splitlines() if line.startswith("{"))
    assert parse_answer(shown, "Iron") == Sample(prompt="Iron has the symbol", target_new="Au", ground_truth="Fe")
    assert text.endswith("Subject: Gold\n")
    assert "taken" not in instruction(Ask("Gold", "metals"))


def test_the_opening_begins_a_fitting_answer() -> None:
    start = opening(Ask("Gold", "metals"))
    text = f'{start} is a metal with the symbol", "target_new": "Fe", "ground_truth": "Au"}}'
    assert parse_answer(text, "Gold") == Sample(**GOOD)
