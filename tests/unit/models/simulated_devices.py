"""Two devices in name, so that a machine with one processor shows where tensors of different devices would meet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["AWAY", "HOME", "HOST", "DeviceMismatchError", "SimulatedDevices"]

#: Two accelerators and the memory beside them. To torch itself all are the processor, and compute what it computes.
HOME, AWAY, HOST = torch.device("cpu", 0), torch.device("cpu", 1), torch.device("cpu")

_DEVICE_OF: Any = torch.Tensor.device
_DATA_OF: Any = torch.Tensor.data
#: Functions whose tensors may be on several devices: what is copied, and what is only asked about.
_FREE = (torch.Tensor.copy_, torch.Tensor.__setitem__, torch._has_compatible_shallow_copy_type)


class DeviceMismatchError(RuntimeError):
    """An operation on tensors of several devices."""


class SimulatedDevices(TorchFunctionMode):
    """Keeps in mind on which device each tensor would be, and refuses operations that mix them.

    Tensors made by no call of torch's Python functions, such as gradients, go with any device.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Answer for devices, let torch do all else."""
        kwargs = dict(kwargs or {})
        owner, name = getattr(func, "__self__", None), func.__name__
        if owner is _DEVICE_OF:
            return _place(args[0]) or HOST
        if owner is _DATA_OF and name == "__set__":
            func(*args)
            args[0]._place = _place(args[1])
            return None
        if func in (torch.Tensor.to, torch.Tensor.cpu):
            return _moved(func, args, kwargs)
        if func is torch.autograd.grad:
            gradients = func(*args, **kwargs)
            for gradient, tensor in zip(gradients, args[1], strict=True):
                _placed(gradient, _place(tensor))
            return gradients
        place = kwargs.pop("device", None)
        if place is None:
            place = _common_place(func, args, kwargs)
        return _placed(func(*args, **kwargs), torch.device(place))


def _moved(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`tensor.to(…)`: to a device, a dtype, both, or to what another tensor has."""
    tensor, *rest = args
    goal = HOST if func is torch.Tensor.cpu else _place(tensor)
    kept: list[Any] = []
    for value in (*rest, *(kwargs.pop(key) for key in ("device", "other") if key in kwargs)):
        if isinstance(value, torch.Tensor):
            goal = _place(value)
            kept.append(value.dtype)
        elif isinstance(value, torch.device | str):
            goal = torch.device(value)
        elif isinstance(value, torch.dtype):
            kept.append(value)
    kwargs.pop("non_blocking", None)
    result = torch.Tensor.to(tensor, *kept, **kwargs) if kept or kwargs else tensor
    if goal != _place(tensor) and result is tensor:
        result = tensor.clone()
    return _placed(result, goal)


def _common_place(func: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> torch.device:
    if func in _FREE:
        args, kwargs = args[:-1], {}
    found = {}
    for tensor in _tensors((args, kwargs)):
        place = _place(tensor)
        indexes = func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__) and place == HOST
        if place is not None and not (place == HOST and tensor.ndim == 0) and not indexes:
            found[place] = tuple(tensor.shape)
    if len(found) > 1:
        raise DeviceMismatchError(f"{func.__name__} of {found}")
    return next(iter(found), HOST)


def _placed(result: Any, place: torch.device | None) -> Any:
    for tensor in _tensors(result):
        tensor._place = place
    return result


def _place(tensor: torch.Tensor) -> torch.device | None:
    place: torch.device | None = getattr(tensor, "_place", None)
    return place


def _tensors(value: Any) -> Iterator[Any]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(value.values())
    elif isinstance(value, list | tuple) or (isinstance(value, Iterable) and type(value).__name__ == "dict_values"):
        for part in value:
            yield from _tensors(part)
