"""Which subjects are one token: those that a model reads at once, with nothing before them, are the hard ones."""

from __future__ import annotations

from collections.abc import Callable

from collapse_tests.errors import InfrastructureError
from collapse_tests.models.specs import resolve_spec

__all__ = ["one_token_test"]


def one_token_test(name: str, say: Callable[[str], None]) -> Callable[[str], bool]:
    """A test whether a text at the very start of a prompt is one token; loads the tokenizer and no weights.

    Args:
        name: of the model, as for `--model`.
        say: takes one line of progress at a time.

    Raises:
        UsageError: there is no such model, or its family is not supported.
        InfrastructureError: the tokenizer could not be fetched or loaded.
    """
    spec = resolve_spec(name)
    source = spec.source
    if source is None:
        from collapse_tests.models.embedded import ensure_default_model

        source = str(ensure_default_model(say))
    from transformers import AutoTokenizer

    local = spec.source is None or spec.local
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, local_files_only=local)
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        problem = " ".join(str(error).split()) or type(error).__name__
        raise InfrastructureError(
            f"the tokenizer of model {name!r} could not be loaded from {source}: {problem}. "
            "Check the name and the network, or give the path of a local copy to --model"
        ) from error

    def is_one_token(text: str) -> bool:
        return len(tokenizer(text, add_special_tokens=False)["input_ids"]) == 1

    return is_one_token
