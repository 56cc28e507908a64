"""Hyperparameters of training that every space shares. `study/optimization.py` and `study/trial.py` read them.

Each optimizer has learning rates of its own: the same number means different things to them, so pooled under one
name they would look unimportant. The ranges hold the usual settings well inside. A reference without momentum or
weight decay has none, which is a choice of its own: zero does not lie on a logarithmic scale.

No reference augments: sources A to E print none, and He et al. 2016 pad and flip images of CIFAR, which not every image
bears; so their recipe is here without. Names of augmentations and mixes are those of `data_utils/augmentation.py`.
"""

from collections.abc import Mapping
from typing import Any, Final

from optuna.distributions import CategoricalDistribution, FloatDistribution

from study.space import Parameter

WARMED: Final = ("constant", "step", "cosine")  # one_cycle has a warm-up of its own

TRAINING: Final = (
    Parameter("optimizer", CategoricalDistribution(("sgd", "adam", "adamw")), "nuisance"),
    Parameter("sgd_lr", FloatDistribution(3e-3, 2.0, log=True), "nuisance", {"optimizer": ("sgd",)}),
    Parameter(
        "momentum_form",
        CategoricalDistribution(("none", "classical", "nesterov")),
        "nuisance",
        {"optimizer": ("sgd",)},
    ),
    Parameter("momentum", FloatDistribution(0.5, 0.99), "nuisance", {"momentum_form": ("classical", "nesterov")}),
    Parameter("adam_lr", FloatDistribution(3e-5, 1e-2, log=True), "nuisance", {"optimizer": ("adam",)}),
    Parameter("adamw_lr", FloatDistribution(1e-4, 3e-2, log=True), "nuisance", {"optimizer": ("adamw",)}),
    Parameter("decay", CategoricalDistribution(("none", "weights")), "nuisance"),
    Parameter("weight_decay", FloatDistribution(1e-5, 1e-1, log=True), "nuisance", {"decay": ("weights",)}),
    Parameter("batch_size", CategoricalDistribution((32, 64, 128, 256, 512, 1024)), "nuisance"),
    Parameter("schedule", CategoricalDistribution(("constant", "step", "cosine", "one_cycle")), "nuisance"),
    Parameter("warm_up", FloatDistribution(0.0, 0.2), "nuisance", {"schedule": WARMED}),
    Parameter("label_smoothing", FloatDistribution(0.0, 0.2), "nuisance"),
    Parameter("augmentation", CategoricalDistribution(("none", "basic", "cutout", "colour")), "nuisance"),
    Parameter("strength", FloatDistribution(0.1, 1.0), "nuisance", {"augmentation": ("basic", "cutout", "colour")}),
    Parameter("mix", CategoricalDistribution(("none", "mixup", "cutmix")), "nuisance"),
    Parameter("mix_alpha", FloatDistribution(0.1, 2.0, log=True), "nuisance", {"mix": ("mixup", "cutmix")}),
)

# In no space of the package, since old studies could not be resumed with it: for one of your own, or an experiment.
CLASS_WEIGHTS: Final = Parameter("class_weights", CategoricalDistribution(("none", "balanced")), "nuisance")
OPTIONAL: Final = {CLASS_WEIGHTS.name: (CLASS_WEIGHTS, "none")}  # with the value of a reference setting

UNCHANGED_IMAGES: Final[Mapping[str, Any]] = {"augmentation": "none", "mix": "none"}

# He et al. 2016, section 4.2 (CIFAR-10): SGD 0.1, momentum 0.9, weight decay 1e-4, batch 128, a tenth of the rate after
# half and after three quarters of the training. Without its augmentation: 4 pixels of padding, cropped and flipped.
HE_2016: Final[Mapping[str, Any]] = {
    "optimizer": "sgd",
    "sgd_lr": 0.1,
    "momentum_form": "classical",
    "momentum": 0.9,
    "decay": "weights",
    "weight_decay": 1e-4,
    "batch_size": 128,
    "schedule": "step",
    "warm_up": 0.0,
    "label_smoothing": 0.0,
    **UNCHANGED_IMAGES,
}


def plain_sgd(lr: float, batch_size: int) -> Mapping[str, Any]:
    """Return a training of source D: SGD and nothing else."""
    return {"optimizer": "sgd", "sgd_lr": lr, "momentum_form": "none", **_constant(batch_size)}


def plain_adam(lr: float, batch_size: int) -> Mapping[str, Any]:
    """Return a training of source B: Adam and nothing else."""
    return {"optimizer": "adam", "adam_lr": lr, **_constant(batch_size)}


def _constant(batch_size: int) -> Mapping[str, Any]:
    return {
        "decay": "none",
        "batch_size": batch_size,
        "schedule": "constant",
        "warm_up": 0.0,
        "label_smoothing": 0.0,
        **UNCHANGED_IMAGES,
    }
