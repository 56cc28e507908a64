"""Image-to-image restoration (B): convolutional, dilated and residual networks, compared as values of `body`.

B prints neither layers nor a training for it. The reference setting is its plain form, which adds what it says to its
input, as Zhang et al. 2017 do (DnCNN, arXiv 1608.03981), with the training of B's other networks (Adam 1e-3), a batch
of 16, since there are few photographs, and the mean squared error.

No hyperparameter is about labels: no smoothing, no mixing. Of augmentations those remain that move an image and
its target together (`data_utils/batches.py`).
"""

from typing import Final

from optuna.distributions import CategoricalDistribution, FloatDistribution

from study.space import Parameter, Space
from study.spaces.training import TRAINING

_SHARED: Final = {parameter.name: parameter for parameter in TRAINING}

RESTORING: Final = (
    Parameter("loss", CategoricalDistribution(("mse", "l1")), "nuisance"),
    Parameter("optimizer", CategoricalDistribution(("adam", "adamw")), "nuisance"),
    *(_SHARED[name] for name in ("adam_lr", "adamw_lr", "decay", "weight_decay")),
    Parameter("batch_size", CategoricalDistribution((8, 16, 32, 64)), "nuisance"),
    *(_SHARED[name] for name in ("schedule", "warm_up")),
    Parameter("augmentation", CategoricalDistribution(("none", "basic")), "nuisance"),
    Parameter("strength", FloatDistribution(0.1, 1.0), "nuisance", {"augmentation": ("basic",)}),
)

DEHAZE = Space(
    name="dehaze",
    network="dehaze",
    task="restoration",
    description="A first convolution, `depth` convolutions `body`, a last one; `skip` adds the input to the output.",
    architecture=(
        Parameter("body", CategoricalDistribution(("plain", "dilated", "residual")), "scientific"),
        Parameter("width", CategoricalDistribution((8, 16, 32)), "scientific"),
        Parameter("depth", CategoricalDistribution((2, 4, 6)), "scientific"),
        Parameter("skip", CategoricalDistribution(("none", "input")), "scientific"),
        Parameter("norm", CategoricalDistribution(("none", "batch", "group")), "scientific"),
        Parameter("activation", CategoricalDistribution(("relu", "gelu", "silu")), "scientific"),
    ),
    training=RESTORING,
    reference={
        **{"body": "plain", "width": 16, "depth": 4, "skip": "input", "norm": "batch", "activation": "relu"},
        **{"loss": "mse", "optimizer": "adam", "adam_lr": 1e-3, "decay": "none", "batch_size": 16},
        **{"schedule": "constant", "warm_up": 0.0, "augmentation": "none"},
    },
)
