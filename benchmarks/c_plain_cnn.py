"""The space of benchmarks/throughput.py: source C's plain CNN with the training that CIFAR-10 usually gets."""

from collections.abc import Mapping
from typing import Any, Final

from optuna.distributions import CategoricalDistribution, FloatDistribution

from study.space import Parameter, Space
from study.spaces.lenet import PLAIN_CNN
from study.spaces.training import TRAINING

TUNED = {
    "width": CategoricalDistribution((6, 9, 12)),
    "sgd_lr": FloatDistribution(0.01, 0.1, log=True),
    "momentum": FloatDistribution(0.8, 0.95),
    "batch_size": CategoricalDistribution((64, 128)),
}
USUAL: Final[Mapping[str, Any]] = {
    **{"width": 6, "kernel": 5, "norm": "none", "activation": "relu"},
    **{"optimizer": "sgd", "sgd_lr": 0.03, "momentum_form": "classical", "momentum": 0.9, "decay": "none"},
    **{"batch_size": 64, "schedule": "constant", "warm_up": 0.0, "label_smoothing": 0.0},
    **{"augmentation": "basic", "strength": 0.5, "mix": "none"},
}


def narrowed(parameters: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
    """Return those of `parameters` that apply here, with the range they have here or their one value."""
    return tuple(
        Parameter(p.name, TUNED.get(p.name, CategoricalDistribution((USUAL[p.name],))), p.role, p.when)
        for p in parameters
        if p.name in USUAL
    )


SPACE = Space(
    name="c_plain_cnn",
    network="plain_cnn",
    description="Source C's plain CNN in three widths.",
    architecture=narrowed(PLAIN_CNN.architecture),
    training=narrowed(TRAINING),
    reference=USUAL,
)
