"""SQuAD 2 that can be scored offline: answerable questions, with lm-eval's prompts and the token F1 of the data set.

lm-eval's own scoring fetches code when it aggregates; and where half of the questions have no answer, an empty string
is right half of the time.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

__all__ = ["answerable_squad", "token_f1"]


def token_f1(answer: str, references: Sequence[str]) -> float:
    """The best F1 of an answer's words against those of any reference (Rajpurkar et al. 2016, section 6.1)."""
    return max((_f1(_words(answer), _words(reference)) for reference in references), default=0.0)


def _f1(found: list[str], wanted: list[str]) -> float:
    if not found or not wanted:
        return float(found == wanted)
    shared = sum((Counter(found) & Counter(wanted)).values())
    return 2 * shared / (len(found) + len(wanted))


def _words(text: str) -> list[str]:
    """Lower case, without punctuation and articles, as the data set's authors compare answers."""
    plain = text.lower().translate(str.maketrans("", "", string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", plain).split()


def answerable_squad(dataset: Callable[[], Any] | None) -> Any:
    """The task `squadv2`, an object of lm-eval.

    Args:
        dataset: gives the data set by split, or None to let lm-eval load it.
    """
    from lm_eval.tasks.squadv2.task import SQuAD2

    class AnswerableSquad(SQuAD2):  # type: ignore[misc]
        """Questions that the passage answers."""

        def download(self, *args: Any, **kwargs: Any) -> None:
            if dataset is None:
                super().download(*args, **kwargs)
            else:
                self.dataset = dataset()

        def validation_docs(self) -> Any:
            docs = self.dataset["validation"]
            return docs.select([index for index, answers in enumerate(docs["answers"]) if answers["text"]])

        def construct_requests(self, doc: Any, ctx: str, **kwargs: Any) -> list[Any]:
            generation, _unanswerable = super().construct_requests(doc, ctx, **kwargs)
            return [generation]

        def process_results(self, doc: Any, results: Sequence[str]) -> dict[str, float]:
            return {"f1": token_f1(results[0], doc["answers"]["text"])}

        def aggregation(self) -> dict[str, Callable[[Sequence[float]], float]]:
            return {"f1": fmean}

        def higher_is_better(self) -> dict[str, bool]:
            return {"f1": True}

    task = AnswerableSquad()
    task.config.task = "squadv2"
    return task
