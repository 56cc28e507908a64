"""Hyperparameters of training that every space shares. `study/optimization.py` and `study/trial.py` read them.

Each optimizer has learning rates of its own: the same number means different things to them, so pooled under one
name they would look unimportant. The ranges hold the usual settings well inside.
"""

from collections.abc import Mapping
from typing import Any, Final

from optuna.distributions import CategoricalDistribution, FloatDistribution

from study.space import Parameter

TRAINING: Final = (
    Parameter("optimizer", CategoricalDistribution(("sgd", "adamw")), "nuisance"),
    Parameter("sgd_lr", FloatDistribution(3e-3, 1.0, log=True), "nuisance", {"optimizer": ("sgd",)}),
    Parameter("momentum", FloatDistribution(0.5, 0.99), "nuisance", {"optimizer": ("sgd",)}),
    Parameter("adamw_lr", FloatDistribution(1e-4, 3e-2, log=True), "nuisance", {"optimizer": ("adamw",)}),
    Parameter("weight_decay", FloatDistribution(1e-5, 1e-1, log=True), "nuisance"),
    Parameter("batch_size", CategoricalDistribution((32, 64, 128, 256)), "nuisance"),
    Parameter("schedule", CategoricalDistribution(("constant", "cosine", "one_cycle")), "nuisance"),
    Parameter("label_smoothing", FloatDistribution(0.0, 0.2), "nuisance"),
)

# He et al. 2016, section 4.2 (CIFAR-10): SGD 0.1, momentum 0.9, weight decay 1e-4, batch 128, steps. Cosine stands for
# the steps, whose epochs (32k and 48k iterations) have no meaning in short trainings.
HE_2016: Final[Mapping[str, Any]] = {
    "optimizer": "sgd",
    "sgd_lr": 0.1,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "batch_size": 128,
    "schedule": "cosine",
    "label_smoothing": 0.0,
}
