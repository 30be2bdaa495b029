"""Rendered templates, remembered: rendering takes longer than looking at what it gave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["ByDocument"]


class ByDocument:
    """`render(doc)`, remembered for as long as the document lives; the task keeps its documents."""

    def __init__(self, render: Callable[..., Any]) -> None:
        self.render = render
        self._known: dict[int, tuple[Any, Any]] = {}

    @classmethod
    def of(cls, render: Callable[..., Any]) -> ByDocument:
        """A memory that is empty; another memory is not wrapped but replaced, as each model gets one of a task."""
        return cls(render.render if isinstance(render, cls) else render)

    def __call__(self, doc: Any, *args: Any, **kwargs: Any) -> Any:
        """What `render` gives; with further arguments nothing is remembered."""
        if args or kwargs:
            return self.render(doc, *args, **kwargs)
        if id(doc) not in self._known:
            self._known[id(doc)] = (doc, self.render(doc))  # the document is held, so that its id stays its own
        return self._known[id(doc)][1]
