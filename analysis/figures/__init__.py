"""The figures of the report by chapter, in its order. To add one: write it in a file of its family and name it here.

Those of `ON_REQUEST` are of studies whose experiment names them: what they show is of no use in others.
"""

from typing import Any

from analysis.figures.combinations import BEST_SETTINGS, PAIRS
from analysis.figures.cost import COST, SPEED
from analysis.figures.curves import FINAL_CURVES, LEARNING_CURVES
from analysis.figures.effects import EFFECTS
from analysis.figures.figure import Figure
from analysis.figures.importance import IMPORTANCE
from analysis.figures.predictions import CLASS_ACCURACY, CONFUSION, EXAMPLES
from analysis.figures.quantiles import QUANTILE_CURVES
from analysis.figures.random_search import BEST_OF_K
from analysis.figures.repeats import AGREEMENT, LATE_SPREAD, THROUGHPUT, TIME_RATIO
from analysis.figures.restorations import BEFORE_AND_AFTER, RESTORED
from analysis.figures.scores import TEST_SCORES, WORTH
from analysis.figures.search import BEST_SO_FAR, RUNG_BEST
from analysis.figures.spending import SPENDING, TIMELINE
from analysis.figures.variants import ISOLATION, STEPS
from analysis.tables import StudyTables

QUESTION = "The question"  # the chapter of the figures that an experiment names

CHAPTERS: dict[str, dict[str, Figure[StudyTables]]] = {
    "The winners": {
        "test_scores": TEST_SCORES,
        "gain": WORTH,
        "final_curves": FINAL_CURVES,
        "speed": SPEED,
        "cost": COST,
    },
    "The search": {
        "best_so_far": BEST_SO_FAR,
        "rung_best": RUNG_BEST,
        "best_of_k": BEST_OF_K,
        "quantile_curves": QUANTILE_CURVES,
        "learning_curves": LEARNING_CURVES,
        "spending": SPENDING,
        "timeline": TIMELINE,
    },
    "The hyperparameters": {
        "importance": IMPORTANCE,
        "effects": EFFECTS,
        "pairs": PAIRS,
        "best_settings": BEST_SETTINGS,
    },
    "The classes": {
        "class_accuracy": CLASS_ACCURACY,
        "confusion": CONFUSION,
        "examples": EXAMPLES,
    },
    "The images": {
        "restored": RESTORED,
        "before_and_after": BEFORE_AND_AFTER,
    },
}
ON_REQUEST: dict[str, Figure[StudyTables]] = {
    "isolation": ISOLATION,
    "steps": STEPS,
    "late_spread": LATE_SPREAD,
    "agreement": AGREEMENT,
    "time_ratio": TIME_RATIO,
    "throughput": THROUGHPUT,
}
FIGURES: dict[str, Figure[StudyTables]] = {
    **{name: figure for chapter in CHAPTERS.values() for name, figure in chapter.items()},
    **ON_REQUEST,
}


def chapters(plan: dict[str, Any]) -> dict[str, dict[str, Figure[StudyTables]]]:
    """Return the chapters of a study's report: those that its experiment names come first, in its order."""
    wanted = (plan.get("experiment") or {}).get("figures", [])
    first = {name: FIGURES[name] for name in wanted if name in FIGURES}
    rest = {
        chapter: {name: figure for name, figure in figures.items() if name not in first}
        for chapter, figures in CHAPTERS.items()
    }
    return {QUESTION: first, **rest} if first else rest


__all__ = ["CHAPTERS", "FIGURES", "ON_REQUEST", "QUESTION", "Figure", "chapters"]
