"""The figures of the report, in its order. To add one: write it in a file of its family and name it here."""

from analysis.figures.curves import FINAL_CURVES, LEARNING_CURVES
from analysis.figures.effects import EFFECTS
from analysis.figures.figure import Figure
from analysis.figures.predictions import CLASS_ACCURACY, CONFUSION, EXAMPLES
from analysis.figures.scores import TEST_SCORES
from analysis.figures.search import BEST_SO_FAR

FIGURES: dict[str, Figure] = {
    "test_scores": TEST_SCORES,
    "best_so_far": BEST_SO_FAR,
    "learning_curves": LEARNING_CURVES,
    "effects": EFFECTS,
    "final_curves": FINAL_CURVES,
    "class_accuracy": CLASS_ACCURACY,
    "confusion": CONFUSION,
    "examples": EXAMPLES,
}

__all__ = ["FIGURES", "Figure"]
