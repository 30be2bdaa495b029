"""Second moments of keys, C = E[k kᵀ], which ROME whitens keys with when asked to."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch

from collapse_tests.errors import UsageError

__all__ = ["SecondMoment"]


class SecondMoment:
    """Uncentred second moment C of one layer's keys, factorised once.

    Args:
        moment: (d_k, d_k), symmetric positive definite.

    Raises:
        UsageError: C is singular, as it is when fewer tokens than d_k were counted.
    """

    def __init__(self, moment: torch.Tensor) -> None:
        factor, failed = torch.linalg.cholesky_ex(moment.double())
        if int(failed) or not torch.isfinite(factor).all():
            raise UsageError(
                f"the second moment ({moment.shape[0]} × {moment.shape[1]}) is not positive definite; "
                "compute it from more tokens than the layer has inputs"
            )
        self._factor = factor

    @classmethod
    def read(cls, path: Path, width: int, device: torch.device) -> SecondMoment:
        """Read the ROME authors' `.npz` layout: `mom2.mom2`, a sum over tokens, and `mom2.count`.

        Args:
            path: the file.
            width: d_k of the layer it is for.
            device: where to keep the factor.

        Raises:
            UsageError: no such file, another layout, or another layer's size.
        """
        try:
            # Opened here: numpy leaves a file that is no archive open.
            with path.open("rb") as file:
                archive = np.load(file, allow_pickle=False)
                total, count = archive["mom2.mom2"], int(archive["mom2.count"])
        except (OSError, EOFError, KeyError, IndexError, ValueError, TypeError, BadZipFile) as error:
            raise UsageError(
                f"second moment {path}: {error}; give an .npz file with the arrays mom2.mom2 and mom2.count"
            ) from None
        if total.shape != (width, width) or count <= 0:
            raise UsageError(
                f"second moment {path}: {count} tokens of shape {total.shape}, the layer needs {(width, width)}; "
                "give the file of this model and block"
            )
        return cls(torch.from_numpy(total).to(device, torch.float64) / count)

    def whiten(self, keys: torch.Tensor) -> torch.Tensor:
        """C⁻¹ k for keys (..., d_k)."""
        flat = keys.double().reshape(-1, keys.shape[-1])
        return torch.cholesky_solve(flat.T, self._factor).T.reshape(keys.shape).to(keys.dtype)
