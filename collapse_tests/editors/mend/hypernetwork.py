"""The hypernetwork of MEND: factors of a fine-tuning gradient in, factors of a weight change out.

Mitchell et al. 2022, 'Fast Model Editing at Scale', section 3 and appendix C. The gradient of a linear layer's weight
is Σ_t δ_t x_tᵀ over tokens t, with x_t the layer's input and δ_t the loss's gradient at its output. The network g maps
each pair (x_t, δ_t) to another pair, and the edit is

    ΔW = α Σ_t δ'_t x'_tᵀ,    (x'_t, δ'_t) = g((x_t − μ_x) / σ_x, (δ_t − μ_δ) / σ_δ)

with one learned step size α per edited weight. Weights of one shape share a network; an elementwise scale and shift
in each of its layers tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

__all__ = ["FactorTransform", "Factors", "Hypernetwork", "ResidualLayer", "Statistics"]

#: Added to standard deviations, as in the published code.
_EPSILON = 1e-7


@dataclass(frozen=True, slots=True)
class Factors:
    """Factors of one weight's gradient, or of its change, for several requests.

    Attributes:
        inputs: (requests, tokens, in_features), x.
        gradients: (requests, tokens, out_features), δ.
    """

    inputs: torch.Tensor
    gradients: torch.Tensor

    @property
    def used(self) -> torch.Tensor:
        """(requests, tokens), whether a token has a part in the gradient: padding and tokens without loss have none.

        NaN has, so that it is not lost.
        """
        return (self.inputs != 0).any(-1) & (self.gradients != 0).any(-1)


class ResidualLayer(nn.Module):
    """h + max(0, s_m ⊙ (U V h + b) + t_m), the low-rank layer whose start is the identity.

    The maximum is a clamp, whose gradient at zero is one: with U zero every unit is at zero, and a ReLU would never
    leave it.

    Args:
        width: of h.
        rank: of U V.
        members: how many weights share the layer, m = 0, 1, …
    """

    def __init__(self, width: int, rank: int, members: int) -> None:
        super().__init__()
        rank = min(rank, width)
        self.u = nn.Parameter(torch.zeros(width, rank))
        self.v = nn.Parameter(torch.randn(rank, width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.scale = nn.Parameter(torch.ones(members, width))
        self.shift = nn.Parameter(torch.zeros(members, width))

    def forward(self, states: torch.Tensor, member: int) -> torch.Tensor:
        """(rows, width) to (rows, width)."""
        low_rank = nn.functional.linear(nn.functional.linear(states, self.v), self.u, self.bias)
        added: torch.Tensor = (low_rank * self.scale[member] + self.shift[member]).clamp(min=0)
        return states + added


@dataclass(slots=True)
class Statistics:
    """Count, mean and sum of squared deviations of rows, gathered part by part.

    Attributes:
        mean: (width,).
        squares: (width,) Σ (x − mean)².
        count: rows seen.
    """

    mean: torch.Tensor
    squares: torch.Tensor
    count: int = 0

    @classmethod
    def empty(cls, width: int, device: torch.device) -> Statistics:
        """Of no rows yet."""
        zeros = torch.zeros(width, dtype=torch.float64, device=device)
        return cls(zeros, zeros.clone())

    def add(self, rows: torch.Tensor) -> None:
        """Count rows (n, width) as well, by the parallel form of Welford's update."""
        if not len(rows):
            return
        rows = rows.double()
        mean, total = rows.mean(0), self.count + len(rows)
        step = mean - self.mean
        self.squares += ((rows - mean) ** 2).sum(0) + step**2 * (self.count * len(rows) / total)
        self.mean += step * (len(rows) / total)
        self.count = total

    @property
    def deviation(self) -> torch.Tensor:
        """(width,) standard deviation with n − 1; NaN for fewer than two rows."""
        return (self.squares / (self.count - 1)).sqrt() if self.count > 1 else torch.full_like(self.mean, torch.nan)


class FactorTransform(nn.Module):
    """g for the weights of one shape.

    Args:
        in_features: of the weights.
        out_features: of the weights.
        rank: of the layers.
        hidden_layers: layers before the last one.
        members: number of weights of this shape.
    """

    def __init__(self, in_features: int, out_features: int, *, rank: int, hidden_layers: int, members: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        width = in_features + out_features
        self.layers = nn.ModuleList(ResidualLayer(width, rank, members) for _ in range(hidden_layers + 1))
        self.input_mean: torch.Tensor
        self.input_deviation: torch.Tensor
        self.gradient_mean: torch.Tensor
        self.gradient_deviation: torch.Tensor
        for name, size in (("input", in_features), ("gradient", out_features)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_deviation", torch.ones(size))

    @property
    def residual_layers(self) -> tuple[ResidualLayer, ...]:
        """The layers, in order."""
        return tuple(layer for layer in self.layers if isinstance(layer, ResidualLayer))

    def normalise_by(self, inputs: Statistics, gradients: Statistics) -> None:
        """Take μ and σ from statistics of factors."""
        self.input_mean.copy_(inputs.mean)
        self.input_deviation.copy_(inputs.deviation)
        self.gradient_mean.copy_(gradients.mean)
        self.gradient_deviation.copy_(gradients.deviation)

    def forward(self, factors: Factors, member: int) -> Factors:
        """The factors of the change, zero wherever a token has no part in the gradient."""
        used = factors.used
        inputs = (factors.inputs[used] - self.input_mean) / (self.input_deviation + _EPSILON)
        gradients = (factors.gradients[used] - self.gradient_mean) / (self.gradient_deviation + _EPSILON)
        states = torch.cat([inputs, gradients], -1)
        for layer in self.residual_layers:
            states = layer(states, member)
        split = states.split([self.in_features, self.out_features], -1)
        return Factors(*(_scatter(part, used) for part in split))


def _scatter(rows: torch.Tensor, used: torch.Tensor) -> torch.Tensor:
    """Rows (n, width) at the n marked places of (requests, tokens), zeros elsewhere."""
    places = used.flatten().nonzero().squeeze(1)
    flat = rows.new_zeros(used.numel(), rows.shape[1]).index_copy(0, places, rows)
    return flat.view(*used.shape, rows.shape[1])


class Hypernetwork(nn.Module):
    """All transforms and step sizes for a set of edited weights.

    Args:
        shapes: name of each edited weight to its (out_features, in_features).
        rank: of the transforms' layers.
        hidden_layers: of the transforms.
        edit_lr: initial α. The published code adds α ΔW, so a positive start is gradient ascent and a negative one
            descent; training may change the sign.
        seed: of the random initial V.
    """

    def __init__(
        self, shapes: Mapping[str, tuple[int, int]], *, rank: int, hidden_layers: int, edit_lr: float, seed: int
    ) -> None:
        super().__init__()
        groups: dict[tuple[int, int], list[str]] = {}
        for name, shape in shapes.items():
            groups.setdefault(shape, []).append(name)
        self.names = tuple(shapes)
        self._places = {name: (_key(shape), group.index(name)) for shape, group in groups.items() for name in group}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.transforms = nn.ModuleDict(
                {
                    _key(shape): FactorTransform(
                        shape[1], shape[0], rank=rank, hidden_layers=hidden_layers, members=len(group)
                    )
                    for shape, group in groups.items()
                }
            )
        self.edit_lrs = nn.Parameter(torch.full((len(self.names),), edit_lr))

    def transform_of(self, name: str) -> FactorTransform:
        """The network that the weight `name` shares with those of its shape."""
        transform = self.transforms[self._places[name][0]]
        assert isinstance(transform, FactorTransform)
        return transform

    def forward(self, factors: Mapping[str, Factors]) -> dict[str, Factors]:
        """Factors of every weight's change, α included in those of the output side."""
        changes: dict[str, Factors] = {}
        for index, name in enumerate(self.names):
            raw = factors[name]
            dtype = self.edit_lrs.dtype
            raw = Factors(raw.inputs.to(dtype), raw.gradients.to(dtype))
            new = self.transform_of(name)(raw, self._places[name][1])
            changes[name] = Factors(new.inputs, self.edit_lrs[index] * new.gradients)
        return changes


def _key(shape: tuple[int, int]) -> str:
    """Name of a shape (out_features, in_features) in the state dictionary."""
    return f"{shape[1]}_to_{shape[0]}"
