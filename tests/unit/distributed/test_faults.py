from __future__ import annotations

import json

from collapse_tests.distributed.faults import FaultLedger

BATCH = ["tiny-rome-facts:0", "tiny-rome-facts:1", "tiny-rome-facts:2"]


def test_a_batch_that_dies_is_tried_again_one_by_one() -> None:
    ledger = FaultLedger(retries=2)
    ledger.died(BATCH, "gw0 was killed")
    assert ledger.alone == set(BATCH)
    assert [ledger.given_up(test) for test in BATCH] == [None, None, None]


def test_only_the_test_that_keeps_killing_its_workers_is_given_up() -> None:
    ledger = FaultLedger(retries=2)
    ledger.died(BATCH, "gw0 was killed")
    ledger.finished(BATCH[0])
    for worker in ("gw1", "gw2"):
        assert ledger.given_up(BATCH[1]) is None
        ledger.died([BATCH[1]], f"{worker} was killed")
    assert ledger.given_up(BATCH[1]) == "given up, as it was tried 3 times: gw2 was killed"
    assert ledger.given_up(BATCH[2]) is None


def test_without_retries_the_first_death_is_the_last() -> None:
    ledger = FaultLedger(retries=0)
    ledger.died(BATCH[:1], "gw0 was killed")
    assert ledger.given_up(BATCH[0]) == "given up, as it was tried once: gw0 was killed"


def test_an_editor_under_which_every_lone_test_dies_is_given_up_as_a_whole() -> None:
    ledger = FaultLedger(retries=2)
    for index in range(5):
        assert ledger.given_up("tiny-rome-facts:99") is None
        ledger.died([f"tiny-rome-facts:{index}"], "a fault")
    told = ledger.given_up("tiny-rome-facts:99")
    assert told is not None
    assert told.endswith("none was finished in between; the last: a fault")
    assert ledger.given_up("tiny-memit-facts:99") is None


def test_a_test_that_finishes_or_dies_again_says_nothing_against_the_others() -> None:
    ledger = FaultLedger(retries=9)
    for index in range(4):
        ledger.died([f"tiny-rome-facts:{index}"], "a fault")
    ledger.died(["tiny-rome-facts:3"], "a fault")
    ledger.died([f"tiny-rome-facts:{index}" for index in range(20, 40)], "a lost node")
    assert ledger.given_up("tiny-rome-facts:99") is None
    ledger.finished("tiny-rome-facts:7")
    for index in range(4, 8):
        ledger.died([f"tiny-rome-facts:{index}"], "a fault")
    assert ledger.given_up("tiny-rome-facts:99") is None


def test_what_others_are_told_answers_as_the_ledger_does() -> None:
    ledger = FaultLedger(retries=0)
    ledger.died(BATCH, "gone")
    for index in range(5):
        ledger.died([f"big-rome-facts:{index}"], "a fault")
    told = FaultLedger.from_dict(json.loads(json.dumps(ledger.to_dict())))
    assert told.alone == ledger.alone
    for test in (*BATCH, "big-rome-facts:77", "tiny-rome-facts:3"):
        assert told.given_up(test) == ledger.given_up(test)
