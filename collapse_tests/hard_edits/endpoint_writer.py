"""Samples from a service that speaks OpenAI's chat completions, with the client's own retries and time limits."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from collapse_tests.errors import CollapseError, InfrastructureError, UsageError
from collapse_tests.hard_edits.asking import Ask, instruction
from collapse_tests.hard_edits.writers import Answer

if TYPE_CHECKING:
    import openai

__all__ = ["KEY_VARIABLE", "EndpointWriter", "opened_endpoint"]

#: Environment variable that holds the service's key; services on this machine mostly need none.
KEY_VARIABLE = "OPENAI_API_KEY"

_SECONDS = 60.0
_RETRIES = 4
_AT_ONCE = 4
_SHOWN = 200


@contextmanager
def opened_endpoint(
    url: str, model: str, *, retries: int = _RETRIES, seconds: float = _SECONDS
) -> Iterator[EndpointWriter]:
    """A writer over an OpenAI-compatible service; its connections are closed at the end of the `with` block.

    Args:
        url: base address, mostly ending in `/v1`.
        model: the service's name for the model.
        retries: of the client, after rate limits, server errors and lost connections.
        seconds: the client waits for one answer.

    Raises:
        UsageError: the client is not installed, or the address is none.
    """
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"--writer-url {url!r} is no address; give one such as http://127.0.0.1:8000/v1")
    try:
        import openai
    except ImportError as error:
        raise UsageError(
            f"--writer-url needs the package openai ({error}); install it with `pip install 'pytest-collapse[data]'`"
        ) from error
    # The client refuses to start without a key, which a service need not ask for.
    key = os.environ.get(KEY_VARIABLE) or "none"
    with openai.OpenAI(base_url=url, api_key=key, timeout=seconds, max_retries=retries) as client:
        yield EndpointWriter(client, url, model)


class EndpointWriter:
    """Asks a service, a few asks at a time.

    Args:
        client: of the service.
        url: its address, for messages.
        model: its name for the model.
    """

    batch = 8

    def __init__(self, client: openai.OpenAI, url: str, model: str) -> None:
        self._client = client
        self._url = url
        self._model = model

    def write(self, asks: Sequence[Ask]) -> list[Answer]:
        """One answer for each ask.

        Raises:
            UsageError: the service refuses the key, the model or the request.
            InfrastructureError: it does not answer, in time or at all, or with something else than a completion.
        """
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(self._answer, asks))

    def _answer(self, ask: Ask) -> Answer:
        import openai

        try:
            completion: Any = self._client.chat.completions.create(
                model=self._model, messages=[{"role": "user", "content": instruction(ask)}]
            )
            content = completion.choices[0].message.content
        except openai.APIError as error:
            raise self._explained(error) from error
        except (ValueError, AttributeError, IndexError, TypeError, KeyError) as error:
            raise InfrastructureError(
                f"--writer-url {self._url}: the answer is no chat completion; give the base address of an "
                "OpenAI-compatible service, which mostly ends in /v1"
            ) from error
        return Answer(content if isinstance(content, str) else "")

    def _explained(self, error: openai.APIError) -> CollapseError:
        import openai

        at = f"--writer-url {self._url}"
        if isinstance(error, openai.APITimeoutError):
            return InfrastructureError(
                f"{at}: no answer within {self._client.timeout:g} s, in {self._tries}; try again when it is less busy"
            )
        if isinstance(error, openai.APIConnectionError):
            return InfrastructureError(
                f"{at} cannot be reached in {self._tries} ({error.__cause__ or error}); "
                "check the address and the network"
            )
        if not isinstance(error, openai.APIStatusError):
            return InfrastructureError(f"{at}: {_short(error)}; check that it is an OpenAI-compatible service")
        return self._of_status(at, error)

    def _of_status(self, at: str, error: openai.APIStatusError) -> CollapseError:
        status = error.status_code
        said = f"{at} answered {status} ({_short(error)})"
        if status in (401, 403):
            how = "has no key" if not os.environ.get(KEY_VARIABLE) else "holds a key that it does not accept"
            return UsageError(f"{said}: {KEY_VARIABLE} {how}; set it to a key of this service")
        if status == 404:
            return UsageError(
                f"{said}: no model {self._model!r} or no service at this address; check --writer-model, and that the "
                "address is the base address, mostly ending in /v1"
            )
        if status == 429:
            return InfrastructureError(f"{said}, in {self._tries}: its rate limit is reached; wait, or lower --limit")
        if status >= 500:
            return InfrastructureError(f"{said}, in {self._tries}: the service failed; try again later")
        return UsageError(f"{said}: the service refuses the request; check --writer-model {self._model!r}")

    @property
    def _tries(self) -> str:
        count = self._client.max_retries + 1
        return "one attempt" if count == 1 else f"{count} attempts"


def _short(error: openai.APIError) -> str:
    """What the service said, on one line."""
    body = error.body
    told = body.get("message") if isinstance(body, dict) else None
    text = " ".join(str(told or error.message).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
