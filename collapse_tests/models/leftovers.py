"""What code that was given a model leaves behind: found, named and undone.

A weight update is the whole of an edit only if nothing but weights has changed. A hook, a replaced `forward` or a
resized embedding changes what the model computes and shows in no weight; training mode, gradients or a moved random
state change nothing by themselves, but would leak into the next edit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as torch_modules

from collapse_tests.models.editable import EditableModel
from collapse_tests.models.surroundings import Leftover, Surroundings, named

__all__ = ["Leftover", "ModelState"]

_HOOKS = {
    "_forward_hooks": "forward hook",
    "_forward_pre_hooks": "forward pre-hook",
    "_backward_hooks": "backward hook",
    "_backward_pre_hooks": "backward pre-hook",
}
_GLOBAL_HOOKS = {f"_global{table}": f"global {kind}" for table, kind in _HOOKS.items()}

_REMOVE_HOOKS = "remove hooks before returning (`handle.remove()`)"
_RESTORE_FORWARDS = "put replaced functions back"
_KEEP_SHAPES = "keep the model's modules and the shapes of its tensors, and write into the weights it has"


class ModelState:
    """The state of a model, its tokenizer and the process; taken once, compared and restored as often as needed.

    It holds one copy of every weight. Taking it and comparing with it each cost about one pass over the weights.

    Args:
        model: to watch.
    """

    def __init__(self, model: EditableModel) -> None:
        self._tensors = _Tensors(model.model)
        self._structure = _Structure(model.model)
        self._surroundings = Surroundings(model.model, model.tokenizer)

    def originals(self) -> Mapping[str, torch.Tensor]:
        """The weights as they were, by name; tied ones once. Not to be written to."""
        return self._tensors.originals()

    def deltas(self) -> dict[str, torch.Tensor]:
        """Parameter or buffer name → present − original, for those that differ and have kept their shape.

        Differences are taken in float32 at least, so that adding one to the original gives the present weight.
        """
        return self._tensors.deltas()

    def leftovers(self) -> list[Leftover]:
        """Everything that differs besides the values of weights."""
        return [*self._structure.leftovers(), *self._tensors.leftovers(), *self._surroundings.leftovers()]

    def undo(self) -> None:
        """Put everything back, the weights bit-exactly and in the same `Parameter` objects."""
        self._structure.undo()
        self._tensors.undo()
        self._surroundings.undo()

    def seed(self, seed: int) -> None:
        """Seed Python's, numpy's and torch's generators; a draw counts from here, `undo` goes back beyond it."""
        self._surroundings.seed(seed)


# Tensors --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Slot:
    """A place in a module that holds a tensor; tied weights have several."""

    path: str
    table: MutableMapping[str, torch.Tensor | None]
    key: str


class _Tensor:
    """One parameter or buffer as it was.

    Args:
        tensor: the object itself.
        slots: where it is.
    """

    def __init__(self, tensor: torch.Tensor, slots: list[_Slot]) -> None:
        self.tensor = tensor
        self.slots = slots
        self.data = tensor.detach()  # the same storage, even if another is put into the object
        self.copy = self.data.clone()
        self.requires_grad = tensor.requires_grad
        self.grad = tensor.grad
        self.hooks = self._hooks()

    @property
    def name(self) -> str:
        """Full name of the first place."""
        return self.slots[0].path

    def present(self) -> list[torch.Tensor]:
        """The tensors that are in its places now, each once; of another shape or type, or gone, they are left out."""
        found: dict[int, torch.Tensor] = {}
        for slot in self.slots:
            tensor = slot.table.get(slot.key)
            if tensor is not None and tensor.shape == self.copy.shape and tensor.dtype == self.copy.dtype:
                found.setdefault(id(tensor), tensor.detach())
        return list(found.values())

    def problem(self) -> str | None:
        """Why no delta of this tensor can express what is there now, or None."""
        for slot in self.slots:
            tensor = slot.table.get(slot.key)
            if tensor is None:
                return f"removed {slot.path}"
            if tensor.shape != self.copy.shape:
                return f"resized {slot.path} from {_shape(self.copy)} to {_shape(tensor)}"
            if tensor.dtype != self.copy.dtype:
                return f"changed the type of {slot.path} from {self.copy.dtype} to {tensor.dtype}"
        first, *others = self.present()
        if any(not _same_bits(first, other) for other in others):
            return f"untied {' from '.join(slot.path for slot in reversed(self.slots))}"
        return None

    def undo(self) -> None:
        tensor = self.tensor
        if tensor.grad_fn is not None:  # written to under autograd
            tensor.detach_()
        if not _same_memory(tensor, self.data):
            tensor.data = self.data
        if not _same_bits(self.data, self.copy):
            with torch.no_grad():
                tensor.copy_(self.copy)
        tensor.requires_grad_(self.requires_grad)
        tensor.grad = self.grad
        if self._hooks() != self.hooks:
            carrier: Any = tensor
            carrier._backward_hooks, carrier._post_accumulate_grad_hooks = self.hooks

    def _hooks(self) -> tuple[object, object]:
        carrier: Any = self.tensor
        return carrier._backward_hooks, carrier._post_accumulate_grad_hooks


class _Tensors:
    """Every parameter and buffer of a model."""

    def __init__(self, model: nn.Module) -> None:
        slots: dict[int, tuple[torch.Tensor, list[_Slot]]] = {}
        for path, module in model.named_modules():
            for table in (module._parameters, module._buffers):
                for key, tensor in table.items():
                    if tensor is not None:
                        name = f"{path}.{key}" if path else key
                        slots.setdefault(id(tensor), (tensor, []))[1].append(_Slot(name, table, key))
        self._tensors = [_Tensor(tensor, places) for tensor, places in slots.values()]

    def originals(self) -> Mapping[str, torch.Tensor]:
        return {tensor.name: tensor.copy for tensor in self._tensors}

    def deltas(self) -> dict[str, torch.Tensor]:
        found = {}
        for tensor in self._tensors:
            for present in tensor.present()[:1]:
                now = present.to(tensor.copy.device)
                if not torch.equal(now, tensor.copy):
                    found[tensor.name] = _difference(now, tensor.copy)
        return found

    def leftovers(self) -> Iterator[Leftover]:
        for tensor in self._tensors:
            problem = tensor.problem()
            if problem is not None:
                yield Leftover(problem, _KEEP_SHAPES)
        yield from _grouped("left requires_grad changed on", self._where(_flag_changed))
        yield from _grouped("left gradients on", self._where(_gradient_changed))
        yield from _grouped("left gradient hooks on", self._where(lambda tensor: tensor._hooks() != tensor.hooks))
        yield from _grouped("moved to another device", self._where(_moved))

    def _where(self, condition: Callable[[_Tensor], bool]) -> list[str]:
        return [tensor.name for tensor in self._tensors if condition(tensor)]

    def undo(self) -> None:
        for tensor in self._tensors:
            tensor.undo()


def _flag_changed(tensor: _Tensor) -> bool:
    return tensor.tensor.requires_grad != tensor.requires_grad


def _gradient_changed(tensor: _Tensor) -> bool:
    return tensor.tensor.is_leaf and tensor.tensor.grad is not tensor.grad


def _moved(tensor: _Tensor) -> bool:
    return any(present.device != tensor.copy.device for present in tensor.present())


def _grouped(text: str, names: list[str]) -> Iterator[Leftover]:
    if names:
        yield Leftover(f"{text} {named(names)}")


def _shape(tensor: torch.Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a number"


def _difference(now: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    if before.dtype == torch.bool:
        return now.to(torch.int8) - before.to(torch.int8)
    if before.is_floating_point():
        wide = torch.promote_types(before.dtype, torch.float32)
        return now.to(wide) - before.to(wide)
    return now - before


def _same_memory(first: torch.Tensor, second: torch.Tensor) -> bool:
    return (
        first.device == second.device
        and first.dtype == second.dtype
        and first.data_ptr() == second.data_ptr()
        and first.shape == second.shape
        and first.stride() == second.stride()
    )


def _same_bits(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Equality in which NaN equals itself and 0 differs from −0."""
    return torch.equal(_bits(first), _bits(second).to(first.device))


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor.detach()
    integer = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    return tensor.detach().view(integer)


# Modules --------------------------------------------------------------------------------------------------


class _Structure:
    """The modules of a model, their attributes and hooks, and the functions of their classes."""

    def __init__(self, model: nn.Module) -> None:
        self._modules = [_Module(path, module) for path, module in model.named_modules()]
        self._global_hooks = {name: _Contents(getattr(torch_modules, name)) for name in _GLOBAL_HOOKS}
        classes = {kind for module in model.modules() for kind in type(module).__mro__ if issubclass(kind, nn.Module)}
        self._functions = {kind: _functions(kind) for kind in classes}

    def leftovers(self) -> Iterator[Leftover]:
        for name, contents in self._global_hooks.items():
            if contents.changed():
                yield Leftover(f"left a {_GLOBAL_HOOKS[name]} on every module", _REMOVE_HOOKS)
        for kind, before in self._functions.items():
            for name in _changed(before, _functions(kind)):
                yield Leftover(f"replaced {kind.__name__}.{name}", _RESTORE_FORWARDS)
        for module in self._modules:
            yield from module.spoilt()
        yield from self._modes()
        attributes = [name for module in self._modules for name in module.other_attributes()]
        yield from _grouped("left attributes set:", attributes)

    def _modes(self) -> Iterator[Leftover]:
        changed = [module for module in self._modules if module.mode_changed()]
        if changed:
            mode = "training" if changed[0].is_training else "evaluation"
            # What the whole model is in, its modules are in.
            paths = [module.path for module in (changed[:1] if changed[0] is self._modules[0] else changed)]
            yield Leftover(f"left {named(paths)} in {mode} mode")

    def undo(self) -> None:
        for contents in self._global_hooks.values():
            contents.undo()
        for kind, before in self._functions.items():
            now = _functions(kind)
            for name in _changed(before, now):
                if name in before:
                    setattr(kind, name, before[name])
                else:
                    delattr(kind, name)
        for module in self._modules:
            module.undo()


class _Contents:
    """What a dictionary, list or set holds, to be put back into the same object."""

    def __init__(self, container: Any) -> None:
        self.container = container
        self.before = container.copy()

    def changed(self) -> bool:
        if isinstance(self.container, dict):
            return bool(_changed(self.before, self.container)) or len(self.before) != len(self.container)
        if isinstance(self.container, list):
            return [id(entry) for entry in self.container] != [id(entry) for entry in self.before]
        return bool(self.container != self.before)

    def undo(self) -> None:
        if self.changed():
            self.container.clear()
            (self.container.extend if isinstance(self.container, list) else self.container.update)(self.before)


class _Module:
    """One module as it was.

    Args:
        path: its name.
        module: the object itself.
    """

    def __init__(self, path: str, module: nn.Module) -> None:
        self.path = path or "the model"
        self._prefix = f"{path}." if path else ""
        self._module = module
        self._kind = type(module)
        self._attributes = dict(vars(module))
        self._contents = {
            name: _Contents(value) for name, value in self._attributes.items() if isinstance(value, dict | list | set)
        }

    def spoilt(self) -> Iterator[Leftover]:
        """Changes that no weight update can express."""
        if type(self._module) is not self._kind:
            yield Leftover(f"made {self.path} a {type(self._module).__name__}", _KEEP_SHAPES)
        for table, kind in _HOOKS.items():
            if _hooks_changed(self._contents[table]):
                yield Leftover(f"left a {kind} on {self.path}", _REMOVE_HOOKS)
        for table in ("_parameters", "_buffers", "_modules"):
            yield from self._spoilt_table(table)
        for name in self._changed_attributes():
            if self._computes(name):
                yield Leftover(f"replaced {self._prefix}{name}", _RESTORE_FORWARDS)

    def _spoilt_table(self, table: str) -> Iterator[Leftover]:
        before, now = self._contents[table].before, getattr(self._module, table)
        for key in _changed(before, now):
            old, new = before.get(key), now.get(key)
            if isinstance(old, torch.Tensor) and table != "_modules":
                continue  # of the tensors' concern
            if new is not None and old is None:
                yield Leftover(f"added {self._prefix}{key}", _KEEP_SHAPES)
            elif old is not None:
                what = "removed" if new is None else "replaced"
                yield Leftover(f"{what} module {self._prefix}{key}", _KEEP_SHAPES)

    def _changed_attributes(self) -> list[str]:
        """Plain attributes that came, went or were set, but for torch's own."""
        own = {name for name in self._contents if name.startswith("_")}
        changed = _changed(self._attributes, vars(self._module))
        return [name for name in changed if name not in own and not name.startswith("_is_") and name != "training"]

    def _computes(self, name: str) -> bool:
        """Whether an attribute takes part in what the module computes, so that its change shows in the output."""
        before, now = self._attributes.get(name), vars(self._module).get(name)
        if callable(now) and hasattr(self._kind, name):
            return True  # an instance's own function hides the class's
        known = isinstance(before, torch.Tensor) or (callable(before) and not _bookkeeping(name))
        return known or (isinstance(before, float) and not isinstance(self._module, nn.Dropout))

    def other_attributes(self) -> list[str]:
        """Names of attributes that were changed without an effect on the output, as far as can be told."""
        return [f"{self._prefix}{name}" for name in self._changed_attributes() if not self._computes(name)]

    @property
    def is_training(self) -> bool:
        """Whether it is in training mode now."""
        return self._module.training

    def mode_changed(self) -> bool:
        """Whether it went from evaluation to training mode or back."""
        return bool(self._module.training != self._attributes["training"])

    def undo(self) -> None:
        module: Any = self._module
        if type(module) is not self._kind:
            module.__class__ = self._kind
        attributes = vars(module)
        for name in attributes.keys() - self._attributes.keys():
            del attributes[name]
        attributes.update(self._attributes)
        for contents in self._contents.values():
            contents.undo()


def _hooks_changed(hooks: _Contents) -> bool:
    """Whether hooks came or went, but for the one that transformers' gradient checkpointing sets, which only flags."""
    keys = _changed(hooks.before, hooks.container)
    return any("make_inputs_require_grads" not in getattr(hooks.container.get(key), "__qualname__", "") for key in keys)


def _bookkeeping(name: str) -> bool:
    return name.startswith("_gradient_checkpointing") or name.endswith("config")


def _functions(kind: type) -> dict[str, Any]:
    return {name: value for name, value in vars(kind).items() if isinstance(value, FunctionType)}


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Keys that came, went or have another object."""
    gone: Iterable[str] = (key for key in before if key not in now)
    missing = object()
    return [*gone, *(key for key, value in now.items() if before.get(key, missing) is not value)]
