"""Short names for the text of requests, by which a baseline knows them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

__all__ = ["request_digest", "sequence_digest"]

#: Hexadecimal digits that stand for one request of a sequence.
_OF_A_SEQUENCE = 4


def request_digest(request: Mapping[str, str | None]) -> str:
    """A short name, 16 hexadecimal digits, of a request's text; fields it does not have make no difference."""
    text = json.dumps({name: value for name, value in request.items() if value is not None}, sort_keys=True)
    return hashlib.blake2b(text.encode("ascii"), digest_size=8).hexdigest()


def sequence_digest(requests: Iterable[Mapping[str, str | None]]) -> str:
    """Four hexadecimal digits for each request, so that the start of one sequence can be compared with another's."""
    return "".join(request_digest(request)[:_OF_A_SEQUENCE] for request in requests)
