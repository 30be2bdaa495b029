"""One model copy on the bench: loaded, measured unedited, and watched for what editors leave behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from collapse_tests.engine.downstream import Downstream
from collapse_tests.engine.scoring import RowCache, Scorer
from collapse_tests.environment import device_facts
from collapse_tests.errors import InfrastructureError, RestorationError
from collapse_tests.metrics.perplexity import perplexity, perplexity_rows
from collapse_tests.metrics.rows import RowScore
from collapse_tests.models.editable import EditableModel
from collapse_tests.records import Perplexity
from collapse_tests.verdict import is_collapsed
from collapse_tests.weight_update import WeightUpdate

__all__ = ["Bench"]


class Bench:
    """A model copy and what is measured on it.

    Args:
        model: freshly loaded.
        texts: sentences for ME-PPL.
        limit: ME-PPL limit.
        downstream: makes the downstream tasks of the model when they are first needed, or None where none are.

    Attributes:
        texts: the sentences.
        unedited_scores: of the sentences, on the unedited model.
        unedited: the model's own perplexity.

    Raises:
        UsageError: the texts cannot be scored.
        InfrastructureError: the unedited model does not pass its own gate, so no edit could be judged on it.
    """

    def __init__(
        self,
        model: EditableModel,
        texts: Sequence[str],
        limit: float,
        downstream: Callable[[Scorer], Downstream] | None = None,
    ) -> None:
        self.model = model
        self._make_downstream = downstream
        self.scorer = Scorer(model)
        rows = perplexity_rows(model, texts)
        self._rows = RowCache(rows)
        (scores,) = self.scorer.each([rows], [None])
        self.texts = texts
        self.unedited_scores: Sequence[RowScore] = scores
        self.unedited: Perplexity = perplexity(scores)
        if is_collapsed(self.unedited, limit):
            raise InfrastructureError(
                f"the unedited model {model.name!r} has ME-PPL {self.unedited.me_ppl:,.2f}, which is not below "
                f"--ppl-limit {limit:g}, so no edit can be judged on it. Check that the weights are those of a "
                "trained model, or raise --ppl-limit"
            )

    @cached_property
    def downstream(self) -> Downstream | None:
        """The downstream tasks, measured on the unedited model: first asked for while the model is unedited."""
        return None if self._make_downstream is None else self._make_downstream(self.scorer)

    @cached_property
    def device_facts(self) -> dict[str, str]:
        """What the model computes on."""
        return device_facts([str(device) for device in self.model.blocks_by_device], str(self.model.precision))

    def scores(self, updates: Sequence[WeightUpdate]) -> list[Sequence[RowScore]]:
        """Scores of the sentences under each update."""
        return list(self.scorer.shared(self._rows, updates))

    def perplexities(self, updates: Sequence[WeightUpdate]) -> list[Perplexity]:
        """Perplexity under each update."""
        return [perplexity(scores) for scores in self.scores(updates)]

    def check_restored(self, editor: str) -> None:
        """Prove that the weights are bit-identical to the unedited model's.

        Raises:
            RestorationError: they are not; this copy must not be used any more.
        """
        changed = self.model.changed_tensors()
        if changed:
            raise RestorationError(editor, changed)
