"""Options that several of the project's own commands have: the words of their help, and their values."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Annotated

import typer

from collapse_tests.commands import parsed, parsed_if_given
from collapse_tests.errors import UsageError
from collapse_tests.option_values import (
    DEVICE_MAPS,
    DTYPES,
    parse_batch_size,
    parse_device,
    parse_device_map,
    parse_dtype,
    parse_matmul_precision,
    parse_seed,
)
from collapse_tests.override_values import parse_overrides
from collapse_tests.settings import Override, Settings

__all__ = [
    "BatchSizeOption",
    "Computing",
    "DeviceMapOption",
    "DeviceOption",
    "DtypeOption",
    "EditorOption",
    "MatmulPrecisionOption",
    "ModelOption",
    "OverridesOption",
    "PplTextsOption",
    "SeedOption",
    "check_computing",
    "computing",
]

EditorOption = Annotated[str, typer.Option(help="As for pytest --editor.")]
ModelOption = Annotated[str, typer.Option(help="As for pytest --model.")]
PplTextsOption = Annotated[str, typer.Option(metavar="FILE", help="As for pytest --ppl-texts.")]
OverridesOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="EDITOR.FIELD=VALUE", help="Set a hyper-parameter. Repeats.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
DeviceMapOption = Annotated[
    str, typer.Option(metavar="MAP", help=f"{' or '.join(DEVICE_MAPS)}, as for pytest --device-map.")
]
DtypeOption = Annotated[str, typer.Option(help=f"One of {', '.join(DTYPES)}.")]
MatmulPrecisionOption = Annotated[str, typer.Option(help="As for pytest --matmul-precision.")]
BatchSizeOption = Annotated[str | None, typer.Option(metavar="N", help="As for pytest --batch-size.")]
SeedOption = Annotated[str, typer.Option(metavar="N", help="Seeds everything random.")]


@dataclass(frozen=True, slots=True)
class Computing:
    """How to compute; each attribute is the field of that name in `Settings`."""

    overrides: tuple[Override, ...]
    device: str
    device_map: str
    dtype: str
    matmul_precision: str
    seed: int
    batch_size: int | None

    def applied_to(self, settings: Settings) -> Settings:
        """The settings with these values."""
        return replace(settings, **{field.name: getattr(self, field.name) for field in fields(self)})


def computing(
    overrides: list[str] | None,
    device: str,
    device_map: str,
    dtype: str,
    matmul_precision: str,
    seed: str,
    batch_size: str | None = None,
) -> Computing:
    """The values of the options of these names.

    Raises:
        UsageError: what is wrong with one of them, with its name.
    """
    size = parsed_if_given("--batch-size", parse_batch_size, batch_size)
    return Computing(
        overrides=tuple(one for text in overrides or () for one in parsed("--set", parse_overrides, text)),
        device=parsed("--device", parse_device, device),
        device_map=parsed("--device-map", parse_device_map, device_map),
        dtype=parsed("--dtype", parse_dtype, dtype),
        matmul_precision=parsed("--matmul-precision", parse_matmul_precision, matmul_precision),
        seed=parsed("--seed", parse_seed, seed),
        batch_size=size if isinstance(size, int) else None,
    )


def check_computing(settings: Settings) -> None:
    """Refuse hyper-parameters of an editor that is not asked for, and a device map of which nothing can come.

    Raises:
        UsageError: naming the option.
    """
    from collapse_tests.models.placement import check_device_map

    check_device_map(settings)
    for override in settings.overrides:
        if override.editor not in settings.editors:
            raise UsageError(f"{override.place}: the editor here is {' or '.join(settings.editors)}; name that")
