"""What surrounds a model's weights: configuration, tokenizer, random states and torch's global settings."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

__all__ = ["Leftover", "Surroundings", "named"]

_SHOWN = 3
_CONFIGS = ("config", "generation_config")

#: Attributes of a tokenizer that its ordinary use changes.
_TOKENIZER_NOISE = frozenset({"_tokenizer", "deprecation_warnings", "_in_target_context_manager"})


@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing that was left behind.

    Attributes:
        text: what, as the rest of a sentence about whoever left it: `left a forward hook on model.layers.2`.
        remedy: what its author has to do about it, where no weight update can express it; None if it is harmless.
    """

    text: str
    remedy: str | None = None

    @property
    def is_random(self) -> bool:
        """Whether it is no more than a moved random state."""
        return self.text.startswith(_DREW)


_DREW = "drew from the random state of"


def named(names: Sequence[str]) -> str:
    """The first few of some names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


class Surroundings:
    """The state of everything but the model's modules and tensors.

    Args:
        model: whose configurations are watched.
        tokenizer: its tokenizer.
    """

    def __init__(self, model: nn.Module, tokenizer: Any) -> None:
        self._configs = _configs(model)
        self._tokenizer = _Tokenizer(tokenizer)
        self._random = self._drawn = _random_states()
        self._settings = [read() for _, read, _ in _SETTINGS]

    def leftovers(self) -> Iterator[Leftover]:
        """What differs; all of it is harmless once undone."""
        for config in self._configs:
            yield from (Leftover(f"changed {text}") for text in config.changes())
        yield from (Leftover(f"changed the tokenizer's {text}") for text in self._tokenizer.changes())
        now = _random_states()
        moved = [name for name, state in now.items() if not _equal(state, self._drawn.get(name))]
        if moved:
            yield Leftover(f"{_DREW} {named(moved)}")
        for (name, read, _), before in zip(_SETTINGS, self._settings, strict=True):
            if read() != before:
                yield Leftover(f"changed torch's {name} from {before} to {read()}")

    def seed(self, seed: int) -> None:
        """Seed every generator; see `ModelState.seed`."""
        random.seed(seed)
        np.random.seed(seed)  # the global generator is the one that code draws from unasked
        torch.manual_seed(seed)
        self._drawn = _random_states()

    def undo(self) -> None:
        """Put everything back."""
        for config in self._configs:
            config.undo()
        self._tokenizer.undo()
        for name, state in self._random.items():
            _set_random_state(name, state)
        self._drawn = self._random
        for (_, read, write), before in zip(_SETTINGS, self._settings, strict=True):
            if read() != before:
                write(before)


class _Fields:
    """The attributes of one object by value.

    Args:
        holder: the object.
        name: what messages call it, with its dot.
        without: attributes to leave alone.
    """

    def __init__(self, holder: Any, name: str, without: Collection[str] = ()) -> None:
        self._holder = holder
        self._name = name
        self._without = set(without)
        self._before: dict[str, Any] = {}
        for attribute, value in self._now().items():
            try:
                self._before[attribute] = copy.deepcopy(value)
            except Exception:  # a handle of some library, which has no value to compare
                self._without.add(attribute)

    def _now(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self._holder).items() if name not in self._without}

    def _changed(self) -> list[str]:
        now = self._now()
        return [name for name in {**self._before, **now} if not _same(self._before, now, name)]

    def changes(self) -> list[str]:
        """What changed, from what to what."""
        now = self._now()
        return [
            f"{self._name}{name} from {_brief(self._before.get(name))} to {_brief(now.get(name))}"
            for name in self._changed()
        ]

    def undo(self) -> None:
        """Put the changed ones back."""
        attributes = vars(self._holder)
        for name in self._changed():
            if name in self._before:
                attributes[name] = copy.deepcopy(self._before[name])
            else:
                del attributes[name]


class _Tokenizer:
    """A tokenizer's settings and vocabulary."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._fields = _Fields(tokenizer, "", _TOKENIZER_NOISE)
        self._size = len(tokenizer)
        self._added = dict(tokenizer.added_tokens_decoder)
        backend: Any = getattr(tokenizer, "_tokenizer", None)
        # Tokens can be added to a tokenizer but not taken away again, so a whole copy is kept.
        self._backend: tuple[Any, str] | None = None
        if hasattr(backend, "to_str"):
            self._backend = type(backend), backend.to_str()

    def changes(self) -> list[str]:
        """What changed, from what to what."""
        return self._fields.changes() + ([self._vocabulary_change()] if self._vocabulary_changed() else [])

    def _vocabulary_changed(self) -> bool:
        return len(self._tokenizer) != self._size or dict(self._tokenizer.added_tokens_decoder) != self._added

    def _vocabulary_change(self) -> str:
        now = self._tokenizer.added_tokens_decoder
        added = [repr(str(token)) for index, token in now.items() if index not in self._added]
        return f"vocabulary by {named(added) or 'other tokens'}"

    def undo(self) -> None:
        """Put everything back."""
        vocabulary_changed = self._vocabulary_changed()
        self._fields.undo()
        if vocabulary_changed and self._backend is not None:
            kind, text = self._backend
            self._tokenizer._tokenizer = kind.from_str(text)


def _configs(model: nn.Module) -> list[_Fields]:
    """The distinct configurations in a model, the model's own first."""
    found: dict[int, _Fields] = {}
    for module in model.modules():
        for name in _CONFIGS:
            config = vars(module).get(name)
            if hasattr(config, "to_dict") and id(config) not in found:
                found[id(config)] = _Fields(config, f"{name}.")
    return list(found.values())


def _same(before: dict[str, Any], now: dict[str, Any], name: str) -> bool:
    if (name in before) != (name in now):
        return False
    try:
        return bool(before[name] == now[name])
    except (ValueError, RuntimeError):  # arrays, whose equality is an array
        return before[name] is now[name]


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


# Random states --------------------------------------------------------------------------------------------


def _random_states() -> dict[str, Any]:
    states: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_initialized():
        states["CUDA"] = torch.cuda.get_rng_state_all()
    return states


def _set_random_state(name: str, state: Any) -> None:
    match name:
        case "python":
            random.setstate(state)
        case "numpy":
            np.random.set_state(state)
        case "torch":
            torch.set_rng_state(state)
        case _:
            torch.cuda.set_rng_state_all(state)


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor | np.ndarray):
        return bool((first == second).all())
    if isinstance(first, tuple | list) and isinstance(second, tuple | list):
        return len(first) == len(second) and all(map(_equal, first, second))
    return bool(first == second)


# torch's global settings ----------------------------------------------------------------------------------


def _set_default_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)


#: Name, how to read and how to write.
_SETTINGS: tuple[tuple[str, Callable[[], Any], Callable[[Any], Any]], ...] = (
    ("default dtype", torch.get_default_dtype, torch.set_default_dtype),
    ("default device", torch.get_default_device, _set_default_device),
    ("deterministic mode", torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    ("gradient mode", torch.is_grad_enabled, torch.set_grad_enabled),
)
