"""One database of failing examples for many searches, which Hypothesis alone would take for one and the same test.

Imports Hypothesis, so it is imported late.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from hypothesis.database import ExampleDatabase

__all__ = ["KeyedDatabase"]


class KeyedDatabase(ExampleDatabase):
    """A part of another database.

    Hypothesis makes its key from a test's source code, which all searches share; here the key of one search is mixed
    into it.

    Args:
        database: the other one.
        key: of this part.
    """

    def __init__(self, database: ExampleDatabase, key: str) -> None:
        super().__init__()
        self._database = database
        self._key = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()

    def save(self, key: bytes, value: bytes) -> None:
        """Keep an example."""
        self._database.save(self._own(key), value)

    def fetch(self, key: bytes) -> Iterable[bytes]:
        """The examples of a key."""
        return self._database.fetch(self._own(key))

    def delete(self, key: bytes, value: bytes) -> None:
        """Forget an example."""
        self._database.delete(self._own(key), value)

    def move(self, src: bytes, dest: bytes, value: bytes) -> None:
        """Put an example under another key."""
        self._database.move(self._own(src), self._own(dest), value)

    def _own(self, key: bytes) -> bytes:
        return hashlib.sha256(self._key + key).digest()
