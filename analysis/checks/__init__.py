"""Checks of the Deep Learning Tuning Playbook (Godbole et al. 2023) and two of ours; `docs/audit.md` explains each.

To add one: write it in the file of its theme and name it here.
"""

from analysis.checks.check import STATUSES, Answer, Check, Status
from analysis.checks.curves import GROWING_LOSS, LENGTH, LUCK, OVERFITTING_CURVES, SATURATION
from analysis.checks.design import FAIRNESS, ISOLATION, PLOTS, POOLING, ROLES_DECLARED, SAME_LENGTH
from analysis.checks.evidence import OPENINGS_CHECK, REFERENCE, REPEATS, ROUNDS, SEEDS_CHECK
from analysis.checks.ranges import BOUNDARIES, DENSITY, INFEASIBLE_TRIALS
from analysis.checks.record import Record

CHECKS: dict[str, Check] = {
    "boundaries": BOUNDARIES,
    "infeasible": INFEASIBLE_TRIALS,
    "density": DENSITY,
    "overfitting": OVERFITTING_CURVES,
    "luck": LUCK,
    "length": LENGTH,
    "saturation": SATURATION,
    "growing_loss": GROWING_LOSS,
    "isolation": ISOLATION,
    "plots": PLOTS,
    "roles": ROLES_DECLARED,
    "fairness": FAIRNESS,
    "pooling": POOLING,
    "seeds": SEEDS_CHECK,
    "repeats": REPEATS,
    "same_length": SAME_LENGTH,
    "rounds": ROUNDS,
    "openings": OPENINGS_CHECK,
    "reference": REFERENCE,
}

__all__ = ["CHECKS", "STATUSES", "Answer", "Check", "Record", "Status"]
