"""Does ME-PPL on one set of sentences say what it says on another? Edited models of different damage, on every set.

    python -m benchmarks.text_set_agreement --texts default-1k FILE --edits hard,normal --edits-limit 8 \
        --scales 0.3,1,3 --records agreement.jsonl

Each edit's own update is multiplied by each scale, which gives models from hardly harmed to wrecked. All are measured
on every set and on the first 50 sentences of each. The records file takes a line per model and set as soon as it is
measured; the same command goes on where it was, and a set added later is the only one measured.

    models      n; how many collapse by the first of the two sets, and how many by the other
    ρ, τ        Spearman's and Kendall's rank correlation of ME-PPL, as of its logarithm; inf and NaN rank last
    ρ below     Spearman's over the models that collapse by neither, and ρ above over those that do by both: where
                edits are hard or harmless by design, two clusters alone give a high ρ
    differ      verdicts at the limit that differ, and how far the two ME-PPL are from the limit on them, at most

Thirty models or more are needed for the correlations to say much; a 1,000-sentence set takes a model about 25 s on two
cores.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from scipy import stats

from collapse_tests.datasets.requests import NamedRequest, load_requests
from collapse_tests.datasets.texts import load_texts
from collapse_tests.editors.protocol import Editor
from collapse_tests.engine.scoring import RowCache, Scorer
from collapse_tests.engine.setting_up import make_editor, prepare_for
from collapse_tests.metrics.perplexity import perplexity, perplexity_rows
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.loading import load_model
from collapse_tests.plain_data import encode, number
from collapse_tests.settings import DEFAULT_MODEL, Settings
from collapse_tests.study.association import correlate, me_ppl_ranks
from collapse_tests.study.scaling import scaled
from collapse_tests.weight_update import WeightUpdate

_FIRST = 50
_FEW = 30
_TOGETHER = 8
UNEDITED = "unedited"

Key = tuple[str, float]
"""The id of an edit, and the scale."""

console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)


@dataclass(frozen=True, slots=True)
class TextSet:
    """Sentences by the name a table gives them."""

    name: str
    texts: tuple[str, ...]

    @property
    def digest(self) -> str:
        """What stands for the sentences in a record."""
        return hashlib.sha256(json.dumps(self.texts).encode()).hexdigest()[:16]


class Records:
    """ME-PPL by set and model, kept in a file from run to run.

    Args:
        path: of the file, or None to keep nothing.
        setting: what else a number depends on; lines of another setting are left alone.
    """

    def __init__(self, path: Path | None, setting: Mapping[str, str]) -> None:
        self._path, self._setting = path, setting
        self.me_ppl: dict[str, dict[Key, float]] = {}
        if path is not None and path.exists():
            text = path.read_text(encoding="utf-8")
            for line in text.splitlines():
                self._take(line)
            if text and not text.endswith("\n"):  # the last line of a killed run
                path.write_text(text + "\n", encoding="utf-8")

    def add(self, key: Key, texts: TextSet, me_ppl: float) -> None:
        """Keep one number."""
        self.me_ppl.setdefault(texts.digest, {})[key] = me_ppl
        if self._path is not None:
            row = {**self._setting, "edit": key[0], "scale": key[1], "texts": texts.digest, "name": texts.name}
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**row, "me_ppl": encode(me_ppl)}) + "\n")

    def lacking(self, key: Key, sets: Sequence[TextSet]) -> list[TextSet]:
        """The sets that this model has not been measured on."""
        return [one for one in sets if key not in self.me_ppl.get(one.digest, {})]

    def _take(self, line: str) -> None:
        try:
            row = json.loads(line)
            if all(row[name] == value for name, value in self._setting.items()):
                key = str(row["edit"]), float(row["scale"])
                self.me_ppl.setdefault(row["texts"], {})[key] = number(row["me_ppl"])
        except (ValueError, KeyError, TypeError):
            return


class Meter:
    """Measures ME-PPL on several sets at once; a sentence that is in more than one is scored once.

    Args:
        model: to measure on.
        sets: of sentences.
    """

    def __init__(self, model: EditableModel, sets: Sequence[TextSet]) -> None:
        texts = list(dict.fromkeys(text for one in sets for text in one.texts))
        place = {text: index for index, text in enumerate(texts)}
        self._places = {one: [place[text] for text in one.texts] for one in sets}
        self._rows = perplexity_rows(model, texts)
        self._cache = RowCache(self._rows)
        self._scorer = Scorer(model)

    def unedited(self) -> dict[TextSet, float]:
        """ME-PPL of the model as it is."""
        (scores,) = self._scorer.each([self._rows], [None])
        return {one: perplexity([scores[index] for index in places]).me_ppl for one, places in self._places.items()}

    def under(self, updates: Sequence[WeightUpdate]) -> list[dict[TextSet, float]]:
        """ME-PPL under each update, side by side where they are low-rank."""
        return [
            {one: perplexity([scores[index] for index in places]).me_ppl for one, places in self._places.items()}
            for scores in self._scorer.shared(self._cache, updates)
        ]


def main(arguments: Sequence[str] | None = None) -> None:
    given = _parser().parse_args(arguments)
    settings = Settings(editors=(given.editor,), models=(given.model,), device=given.device)
    sets = _sets(given.texts)
    requests = [one for source in given.edits.split(",") for one in load_requests(source, limit=given.edits_limit)]
    records = Records(given.records, {"model": given.model, "editor": given.editor})
    wanted = [(one.edit_id, scale) for one in requests for scale in given.scales]
    if any(records.lacking(key, sets) for key in [*wanted, (UNEDITED, 0.0)]):
        _measure(settings, requests, given.scales, sets, records)
    _print(sets, records, wanted, settings.ppl_limit)


def _sets(sources: Sequence[str]) -> list[TextSet]:
    """The sets and their beginnings, each once."""
    found: dict[tuple[str, ...], TextSet] = {}
    for source in sources:
        texts = load_texts(source)
        name = Path(source).stem if Path(source).suffix else source
        for one in (TextSet(name, texts), TextSet(f"{name}, first {_FIRST}", texts[:_FIRST])):
            found.setdefault(one.texts, one)
    return list(found.values())


def _measure(
    settings: Settings,
    requests: Sequence[NamedRequest],
    scales: Sequence[float],
    sets: Sequence[TextSet],
    records: Records,
) -> None:
    """Measure what the records lack."""
    (name,), (model_name,) = settings.editors, settings.models
    editor = make_editor(name, model_name, settings)
    model = load_model(model_name, settings, console.print)
    meter = Meter(model, sets)
    if records.lacking((UNEDITED, 0.0), sets):
        _keep((UNEDITED, 0.0), meter.unedited(), records)
    prepare_for(model, editor, name, settings, lambda stage, done, total: None)
    missing = [one for one in requests if any(records.lacking((one.edit_id, scale), sets) for scale in scales)]
    console.print(f"{len(requests) - len(missing)} of {len(requests)} edits are in the records")
    for done, (request, update) in enumerate(_updates(model, editor, missing), start=1):
        keys = [(request.edit_id, scale) for scale in scales if records.lacking((request.edit_id, scale), sets)]
        found = meter.under([scaled(update, scale) for _, scale in keys])
        for key, values in zip(keys, found, strict=True):
            _keep(key, values, records)
        first = [f"{next(iter(values.values())):,.0f}" for values in found]
        console.print(f"{done}/{len(missing)} {request.edit_id}: ME-PPL {', '.join(first)}", markup=False)


def _updates(
    model: EditableModel, editor: Editor, requests: Sequence[NamedRequest]
) -> Iterator[tuple[NamedRequest, WeightUpdate]]:
    """Each request with its update, edited a few at a time; one whose edit raises is left out."""
    for first in range(0, len(requests), _TOGETHER):
        batch = requests[first : first + _TOGETHER]
        try:
            updates = editor.compute_updates(model, [one.request for one in batch])
        except Exception as error:
            if len(batch) > 1:
                for one in batch:
                    yield from _updates(model, editor, [one])
            else:
                console.print(f"left out {batch[0].edit_id}: {type(error).__name__}: {error}", markup=False)
        else:
            yield from zip(batch, updates, strict=True)


def _keep(key: Key, values: Mapping[TextSet, float], records: Records) -> None:
    for one in records.lacking(key, list(values)):
        records.add(key, one, values[one])


# The tables -------------------------------------------------------------------------------------------------------


def _print(sets: Sequence[TextSet], records: Records, wanted: Sequence[Key], limit: float) -> None:
    keys = [key for key in wanted if not records.lacking(key, sets)]
    if not keys:
        sys.exit("no model was measured on every set")
    values = {one: [records.me_ppl[one.digest][key] for key in keys] for one in sets}
    ranges = _table("texts", "n", "unedited", "lowest", "median", "highest", "collapsed", "not finite")
    for one in sets:
        ordered = [values[one][index] for index in sorted(range(len(keys)), key=me_ppl_ranks(values[one]).__getitem__)]
        unedited = records.me_ppl[one.digest].get((UNEDITED, 0.0), math.nan)
        places = (ordered[0], ordered[len(ordered) // 2], ordered[-1])
        ranges.add_row(
            one.name,
            f"{len(one.texts):,}",
            f"{unedited:,.1f}",
            *(f"{value:,.0f}" for value in places),
            f"{sum(_collapsed(value, limit) for value in ordered)} of {len(keys)}",
            str(sum(not math.isfinite(value) for value in ordered)),
        )
    console.print(ranges)
    pairs = _table("texts", "and", "models", "ρ", "τ", "ρ below", "ρ above", "differ")
    for first, other in combinations(sets, 2):
        pairs.add_row(first.name, other.name, *_agreement(values[first], values[other], limit))
    console.print(pairs)
    if len(keys) < _FEW:
        console.print(f"{len(keys)} models are few; give more edits or scales, for {_FEW} or more")


def _agreement(first: Sequence[float], other: Sequence[float], limit: float) -> list[str]:
    verdicts = [(_collapsed(one, limit), _collapsed(two, limit)) for one, two in zip(first, other, strict=True)]
    differing = [
        max(abs(math.log(value / limit)) if 0 < value < math.inf else math.inf for value in pair)
        for pair, (one, two) in zip(zip(first, other, strict=True), verdicts, strict=True)
        if one != two
    ]
    tau = stats.kendalltau(me_ppl_ranks(first), me_ppl_ranks(other)).statistic if len(first) > 1 else math.nan
    collapsed = [sum(verdict[side] for verdict in verdicts) for side in (0, 1)]
    return [
        f"{len(first)}; {collapsed[0]}, {collapsed[1]}",
        _rho(first, other, [True] * len(first)),
        "" if math.isnan(tau) else f"{tau:.3f}",
        _rho(first, other, [not any(verdict) for verdict in verdicts]),
        _rho(first, other, [all(verdict) for verdict in verdicts]),
        f"{len(differing)}" + (f" (×{math.exp(max(differing)):.2f})" if differing else ""),
    ]


def _rho(first: Sequence[float], other: Sequence[float], chosen: Sequence[bool]) -> str:
    ranks = [
        me_ppl_ranks([value for value, taken in zip(values, chosen, strict=True) if taken]) for values in (first, other)
    ]
    found = correlate(*ranks)
    return "" if found is None else f"{found.rho:.3f} ({found.n})"


def _collapsed(me_ppl: float, limit: float) -> bool:
    return not me_ppl < limit  # NaN, too


def _table(*headers: str) -> Table:
    table = Table(box=SIMPLE_HEAD, collapse_padding=True)
    for header in headers:
        table.add_column(header, justify="left" if header in ("texts", "and") else "right")
    return table


def _scales(text: str) -> tuple[float, ...]:
    scales = tuple(sorted({float(one) for one in text.split(",")}))
    if not all(0 < scale < math.inf for scale in scales):
        raise argparse.ArgumentTypeError(f"{text!r} holds a scale that is no positive number")
    return scales


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", nargs="+", required=True, metavar="SET", help="as --ppl-texts of the plugin")
    parser.add_argument("--edits", default="hard,normal", metavar="SET,…", help="request sets or files, by comma")
    parser.add_argument("--edits-limit", type=int, metavar="N", help="at most so many of each set")
    parser.add_argument("--scales", type=_scales, default=(0.3, 1.0, 3.0), metavar="X,…", help="factors of each update")
    parser.add_argument("--records", type=Path, metavar="FILE", help="keep measurements here and go on from them")
    parser.add_argument("--editor", default="rome")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--device", default="auto")
    return parser


if __name__ == "__main__":
    main()
