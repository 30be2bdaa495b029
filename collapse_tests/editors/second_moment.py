"""Second moments of keys, C = E[k kᵀ]: what locate-then-edit methods know of the other facts in a layer.

ROME (Meng et al. 2022, equation 2) and MEMIT (Meng et al. 2023, equation 14) whiten keys with C⁻¹; AlphaEdit (Fang
et al. 2025, section 3.2) projects updates onto the directions in which C is as good as zero. Keys are not centred.
"""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch

from collapse_tests.errors import UsageError

__all__ = ["SecondMoment"]


class SecondMoment:
    """Uncentred second moment C of one layer's keys, factorised once.

    The inverse of a sample's C is larger than the inverse of what it estimates: for Gaussian keys by N / (N − d_k − 1)
    in the mean. Where the number of keys is known, `whiten` takes that back (docs/covariance.md has the measurement).

    Args:
        moment: (d_k, d_k), symmetric positive definite.
        tokens: N, the keys that C is the mean of, or None to take C as exact.

    Attributes:
        moment: C as given, (d_k, d_k).
        tokens: as given.
        inverse_scale: what C⁻¹ is multiplied with, 1 − d_k / N or 1.

    Raises:
        UsageError: C is singular, as it is when fewer tokens than d_k were counted, or not finite.
    """

    def __init__(self, moment: torch.Tensor, tokens: int | None = None) -> None:
        width = moment.shape[0]
        if not torch.isfinite(moment).all():
            raise UsageError(
                f"the second moment ({width} × {width}) is not finite: the model's keys overflow or are NaN; load it "
                "with --dtype float32, and check its weights if that does not help"
            )
        factor, failed = torch.linalg.cholesky_ex(moment.double())
        if int(failed) or (tokens is not None and tokens <= width):
            counted = "" if tokens is None else f" of {tokens} tokens"
            raise UsageError(
                f"the second moment ({width} × {width}){counted} is not positive definite; "
                "compute it from more tokens than the layer has inputs"
            )
        self.moment = moment
        self.tokens = tokens
        self.inverse_scale = 1.0 if tokens is None else 1.0 - width / tokens
        self._factor = factor

    @classmethod
    def read(cls, path: Path, width: int, device: torch.device) -> SecondMoment:
        """Read the ROME authors' `.npz` layout: `mom2.mom2`, a sum over tokens, and `mom2.count`.

        Such a C counts as exact: published ones are of tens of millions of tokens, and the methods' published
        hyper-parameters go with them as they are.

        Args:
            path: the file.
            width: d_k of the layer it is for.
            device: where to keep C and its factor.

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
        """C⁻¹ k for keys (..., d_k), solved in float64 where C is, in the keys' type and on their device."""
        flat = keys.to(self._factor).reshape(-1, keys.shape[-1])
        solved = self.inverse_scale * torch.cholesky_solve(flat.T, self._factor).T
        return solved.reshape(keys.shape).to(keys)

    @property
    def corrected(self) -> torch.Tensor:
        """The matrix whose inverse `whiten` multiplies with, (d_k, d_k), for code that inverts by itself."""
        return self.moment / self.inverse_scale

    def null_space(self, threshold: float) -> torch.Tensor:
        """Factor N of the projection P = N Nᵀ onto where keys hardly reach (AlphaEdit, section 3.2).

        Args:
            threshold: eigenvectors of C with an eigenvalue below it are kept.

        Returns:
            (d_k, r) orthonormal columns in float64; r may be 0.
        """
        values, vectors = torch.linalg.eigh(self.moment.double())
        kept: torch.Tensor = vectors[:, values < threshold]
        return kept
