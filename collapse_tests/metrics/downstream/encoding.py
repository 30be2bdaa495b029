"""lm-eval's requests as rows of token ids, encoded exactly as its own Hugging Face model does."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from collapse_tests.models.editable import EditableModel

__all__ = ["Pair", "continuation_pairs", "rolling_pairs", "truncated"]

Pair = tuple[tuple[int, ...], tuple[int, ...]]
"""Token ids of a context and of its continuation, each one or more."""


def continuation_pairs(model: EditableModel, instances: Sequence[Any]) -> list[Pair]:
    """Context and continuation of each request of the kind `loglikelihood`."""
    encoder = _encoder_class()(model)
    pairs: list[Pair] = encoder.loglikelihood(instances, disable_tqdm=True)
    return [truncated(model, pair) for pair in pairs]


def rolling_pairs(model: EditableModel, instances: Sequence[Any]) -> list[list[Pair]]:
    """Windows of each request of the kind `loglikelihood_rolling`, which together predict every token once."""
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    encoder = _encoder_class()(model)
    windows = [
        map(
            make_disjoint_window,
            get_rolling_token_windows(
                token_list=encoder.tok_encode(instance.args[0]),
                prefix_token=encoder.prefix_token_id,
                max_seq_len=model.max_length,
                context_len=1,
            ),
        )
        for instance in instances
    ]
    return [[(tuple(context), tuple(continuation)) for context, continuation in text] for text in windows]


def truncated(model: EditableModel, pair: Pair) -> Pair:
    """The pair with its context cut from the left to what the model takes, as lm-eval cuts it."""
    context, continuation = pair
    room = model.max_length + 1 - len(continuation)
    return context[-max(1, room) :], continuation


@cache
def _encoder_class() -> Any:
    """Defined late, as lm-eval takes seconds to import."""
    from lm_eval.api.model import TemplateLM
    from lm_eval.models.utils import has_bos_prefix

    class Encoder(TemplateLM):  # type: ignore[misc]
        """A language model that gives each request back as token ids instead of scoring it."""

        def __init__(self, model: EditableModel) -> None:
            super().__init__()
            self.tokenizer = model.tokenizer

        @property
        def eot_token_id(self) -> int:
            return int(self.tokenizer.eos_token_id)

        @property
        def prefix_token_id(self) -> int:
            start = self.tokenizer.bos_token_id
            return self.eot_token_id if start is None else int(start)

        def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
            if add_special_tokens is None and has_bos_prefix(string, self.tokenizer.decode(self.prefix_token_id)):
                add_special_tokens = False
            given = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
            ids: list[int] = self.tokenizer.encode(string, **given)
            return ids

        def _loglikelihood_tokens(self, requests: Sequence[Any], **kwargs: Any) -> list[Pair]:
            return [(tuple(context), tuple(continuation)) for _, context, continuation in requests]

        def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
            raise NotImplementedError

        def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
            raise NotImplementedError

    return Encoder
