"""Details of cases: grids of weight changes, and the sentences that suffered."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch

from collapse_tests.case_detail import CaseDetail
from collapse_tests.cases import Case
from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.protocol import no_progress
from collapse_tests.engine.bench import Bench
from collapse_tests.engine.details import DetailMaker
from collapse_tests.engine.runner import BatchRunner
from collapse_tests.metrics.rows import RowScore
from collapse_tests.models.editable import EditableModel
from collapse_tests.records import Verdict
from collapse_tests.settings import Settings
from collapse_tests.weight_update import DenseDelta, LowRankDelta, WeightUpdate
from tests.unit.tiny import shared_model

TEXTS = ("The capital of Norway is Oslo and the rain", "You play the violin in Paris", "The cat and the cheese")


def score(perplexity: float) -> RowScore:
    return RowScore(math.log(perplexity), 1)


def maker() -> DetailMaker:
    return DetailMaker(shared_model("llama"), TEXTS, [score(10.0), score(20.0), score(30.0)])


def some_matrix() -> str:
    model = shared_model("llama")
    return model.mlp_output_weight(1)


def test_sentences_are_ordered_by_how_much_worse_they_got() -> None:
    scores = [score(11.0), RowScore(math.nan, 1), RowScore(1e9, 1)]
    detail = maker().make("case", False, WeightUpdate({}), scores)
    assert detail is not None
    assert [change.text for change in detail.sentences] == [TEXTS[1], TEXTS[2], TEXTS[0]]
    assert math.isnan(detail.sentences[0].after)
    assert detail.sentences[1].after == math.inf
    assert detail.sentences[2].before == pytest.approx(10.0)


@pytest.mark.parametrize("rank", [1, 2])
def test_cells_are_means_of_the_change(rank: int) -> None:
    out_features, in_features = shared_model("llama").weight_shape(some_matrix())
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(out_features, rank, generator=generator)
    right = torch.randn(rank, in_features, generator=generator)
    delta = LowRankDelta(left, right)
    detail = maker().make("case", False, WeightUpdate({some_matrix(): delta}), [score(1.0)] * 3)
    assert detail is not None
    (found,) = detail.changes
    cells = torch.tensor(found.cells)
    whole = (left @ right).abs()
    assert found.shape == (out_features, in_features)
    assert cells.shape == (min(32, out_features), min(32, in_features))
    assert found.norm == pytest.approx(delta.norm() / float(shared_model("llama").parameter(some_matrix()).norm()))
    expected = torch.nn.functional.adaptive_avg_pool2d(whole[None], cells.shape)[0]
    torch.testing.assert_close(cells, expected, rtol=6e-3, atol=0.0)


def test_only_matrices_that_changed_most_are_kept() -> None:
    model = shared_model("llama")
    names = [name for name, tensor in model.tensors().items() if tensor.ndim == 2][:5]
    factors = (0.1, 3.0, math.nan, 0.5, math.inf)
    update = WeightUpdate(
        {name: DenseDelta(model.parameter(name).detach() * factor) for name, factor in zip(names, factors, strict=True)}
    )
    detail = maker().make("case", False, update, [score(1.0)] * 3)
    assert detail is not None
    assert [one.parameter for one in detail.changes] == [names[2], names[4], names[1]]
    again = CaseDetail.from_dict(detail.to_dict())
    assert again.changes[2] == detail.changes[2]
    assert math.isnan(again.changes[0].norm)


def test_there_are_few_of_stable_cases() -> None:
    one = maker()
    made = [one.make(str(number), True, WeightUpdate({}), [score(1.0)] * 3) for number in range(12)]
    assert sum(detail is not None for detail in made) == 8
    assert one.make("unstable", False, WeightUpdate({}), [score(1.0)] * 3) is not None


def test_a_batch_leaves_details_that_agree_with_its_records() -> None:
    class Ruin:
        name = "ruin"

        def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
            delta = torch.full_like(model.parameter(name), 30.0)
            return [WeightUpdate({name: DenseDelta(delta)}) for _ in requests]

    model = shared_model("gpt2")
    name = model.mlp_output_weight(0)
    settings = Settings(("ruin",), ppl_limit=Bench(model, TEXTS, math.inf).unedited.me_ppl * 1.01)
    runner = BatchRunner(Bench(model, TEXTS, math.inf), Ruin(), settings, "main", no_progress)
    (record,) = runner.run([Case("tiny", "ruin", "facts:0", EditRequest("Rome is in", "Rome", "the rain"))])
    assert record.verdict is not Verdict.STABLE
    assert record.edited is not None
    detail = runner.details[record.case_id]
    assert sum(change.after for change in detail.sentences) / 3 == pytest.approx(record.edited.me_ppl)
    assert [one.parameter for one in detail.changes] == [name]
