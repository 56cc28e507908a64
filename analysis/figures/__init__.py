"""The figures of the report by chapter, in its order. To add one: write it in a file of its family and name it here."""

from analysis.figures.combinations import BEST_SETTINGS, PAIRS
from analysis.figures.cost import COST, SPEED
from analysis.figures.curves import FINAL_CURVES, LEARNING_CURVES
from analysis.figures.effects import EFFECTS
from analysis.figures.figure import Figure
from analysis.figures.importance import IMPORTANCE
from analysis.figures.predictions import CLASS_ACCURACY, CONFUSION, EXAMPLES
from analysis.figures.quantiles import QUANTILE_CURVES
from analysis.figures.restorations import BEFORE_AND_AFTER, RESTORED
from analysis.figures.scores import TEST_SCORES, WORTH
from analysis.figures.search import BEST_SO_FAR, RUNG_BEST
from analysis.figures.spending import SPENDING, TIMELINE
from analysis.tables import StudyTables

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
FIGURES: dict[str, Figure[StudyTables]] = {
    name: figure for chapter in CHAPTERS.values() for name, figure in chapter.items()
}

__all__ = ["CHAPTERS", "FIGURES", "Figure"]
