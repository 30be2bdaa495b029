"""Every threshold and every test statistic, and nothing else decides: measurements in, verdict out."""

from collapse_tests.verdict.chance import choice_chance, generative_floor
from collapse_tests.verdict.downstream import ALPHA, DROP_ALPHA, MARGIN, has_margin, task_verdict
from collapse_tests.verdict.judgement import (
    Judgement,
    is_collapsed,
    is_suspect,
    judge,
    perplexity_reasons,
    task_reasons,
)

__all__ = [
    "ALPHA",
    "DROP_ALPHA",
    "MARGIN",
    "Judgement",
    "choice_chance",
    "generative_floor",
    "has_margin",
    "is_collapsed",
    "is_suspect",
    "judge",
    "perplexity_reasons",
    "task_reasons",
    "task_verdict",
]
