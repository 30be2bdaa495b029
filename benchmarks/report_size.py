"""How long the page of a large run takes to make, and how large it is.

    python -m benchmarks.report_size [--cases 20000] [--collapsed 0.2] [--texts 60] [--keep DIR]

Records are made up: two models, three editors, three tasks, details of 600 cases. The JavaScript of charts is made in
the first line, as by the first page of an installation; all other times have it in the cache.
"""

from __future__ import annotations

import argparse
import math
import random
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from collapse_tests.case_detail import CaseDetail, HeatMap, SentenceChange
from collapse_tests.records import EditQuality, Perplexity, Record, TaskResult, TaskVerdict, Verdict
from collapse_tests.report.html.bundle import javascript_bundle
from collapse_tests.report.html.rendering import REPORT_FILE, write_page
from collapse_tests.report.html.run_data import read_run
from collapse_tests.report.store import RunDirectory

GROUPS = [(model, editor) for model in ("model-a", "model-b") for editor in ("rome", "memit", "ft")]
TASKS = (("commonsense", 0.5), ("completion", 0.25), ("last_word", 0.01))
DETAILED = 600


def main() -> None:
    arguments = parsed_arguments()
    start = time.perf_counter()
    javascript_bundle()
    print(f"JavaScript of charts: {time.perf_counter() - start:.2f} s")
    keep = arguments.keep
    with tempfile.TemporaryDirectory() as temporary:
        run = written_run(Path(keep or temporary), arguments.cases, arguments.collapsed, arguments.texts)
        start = time.perf_counter()
        data = read_run(run)
        read = time.perf_counter()
        write_page(data, run / REPORT_FILE)
        end = time.perf_counter()
        size = (run / REPORT_FILE).stat().st_size
        print(f"{arguments.cases:,} cases: {read - start:.2f} s to read, {end - read:.2f} s to write the page")
        print(f"{size:,} bytes" + (f" in {run / REPORT_FILE}" if keep else ""))


def parsed_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--collapsed", type=float, default=0.2, help="share of edits that collapse their model")
    parser.add_argument("--texts", type=int, default=60, help="characters of a prompt")
    parser.add_argument("--keep", help="directory to leave the run in")
    return parser.parse_args()


def written_run(folder: Path, cases: int, collapsed: float, texts: int) -> Path:
    """A run directory with made-up records."""
    dice = random.Random(0)
    settings = {"editors": ["rome", "memit", "ft"], "models": ["model-a", "model-b"], "edits": ["facts.json"]}
    with RunDirectory.create(folder, {"settings": settings}, now=datetime.now()) as run:
        for index, record in enumerate(made_up(dice, cases, collapsed, texts)):
            run.append(record)
            if index < DETAILED:
                run.append_detail(detail(dice, record.case_id))
        return run.path


def made_up(dice: random.Random, cases: int, collapsed: float, texts: int) -> Iterator[Record]:
    for index in range(cases):
        model, editor = GROUPS[index % len(GROUPS)]
        verdict = Verdict.COLLAPSED if dice.random() < collapsed else dice.choice([Verdict.STABLE, Verdict.INEFFECTIVE])
        edit_id = f"facts:{index // len(GROUPS):05d}"
        yield Record(
            f"{model}-{editor}-{edit_id}",
            model,
            editor,
            edit_id,
            request(dice, texts),
            verdict,
            reasons=("ME-PPL is at or above the limit 1,000",) if verdict is Verdict.COLLAPSED else (),
            unedited=Perplexity(167.0, 90.0, 50, 1100),
            edited=Perplexity(after(dice, verdict), 200.0, 50, 1100),
            quality=EditQuality(verdict is Verdict.STABLE, True, None, True, 0.5, 0.001, 0.02),
            tasks=tuple(task(dice, name, chance, verdict) for name, chance in TASKS),
            diagnostics={name: dice.lognormvariate(0, 2) for name in ("denominator", "update_norm", "key_norm")},
            continuation_before=" a river and a town.",
            continuation_after=" the the the the the",
            ppl_limit=1000.0,
            seconds={"edit": 0.5, "perplexity": 0.1},
        )


def request(dice: random.Random, texts: int) -> dict[str, str | None]:
    words = " ".join(dice.choice(("river", "granite", "violin", "capital", "the")) for _ in range(max(2, texts // 7)))
    return {"prompt": words, "subject": words.split()[0], "target_new": "soup", "ground_truth": "rock"}


def after(dice: random.Random, verdict: Verdict) -> float:
    if verdict is not Verdict.COLLAPSED:
        return dice.lognormvariate(math.log(170), 0.1)
    return dice.choice([math.inf, math.nan]) if dice.random() < 0.02 else 1000 * dice.lognormvariate(3, 2)


def task(dice: random.Random, name: str, chance: float, verdict: Verdict) -> TaskResult:
    edited = chance if verdict is Verdict.COLLAPSED else 0.9
    score = min(1.0, max(0.0, dice.gauss(edited, 0.05)))
    found = TaskVerdict.RANDOM if verdict is Verdict.COLLAPSED else TaskVerdict.ABOVE
    return TaskResult(name, "acc", 120, 0.92, score, chance, 0.2, 30, 2, 1e-9, found)


def detail(dice: random.Random, case_id: str) -> CaseDetail:
    sentences = tuple(
        SentenceChange("A sentence about the weather.", 50.0, dice.lognormvariate(6, 2)) for _ in range(10)
    )
    cells = tuple(tuple(dice.lognormvariate(-8, 2) for _ in range(32)) for _ in range(32))
    return CaseDetail(case_id, sentences, (HeatMap("layers.5.mlp.down_proj", (576, 1536), cells, 0.4),))


if __name__ == "__main__":
    main()
