"""LeNet, and the plain CNN of source C.

Reference settings: `lenet` is D's, SGD 0.9 with batch 256. `plain_cnn` is C's network; C prints no training, so Adam
1e-3, as B takes it, with batch 64: 88 and 90 % on the digits after 20 epochs, where He et al. 2016 came to 40 and
56 % and batch 128 to 81 and 78 % (two cores, 2026-11-22, seeds 0 and 1).
"""

from optuna.distributions import CategoricalDistribution

from study.space import Parameter, Space
from study.spaces.training import TRAINING, plain_adam, plain_sgd

WIDTH = Parameter("width", CategoricalDistribution((3, 6, 12, 24)), "scientific")
KERNEL = Parameter("kernel", CategoricalDistribution((3, 5, 7)), "scientific")

LENET = Space(
    name="lenet",
    network="lenet",
    description="LeNet-5 with average or maximum pools, with or without batch norm written by hand.",
    architecture=(
        WIDTH,
        KERNEL,
        Parameter("border", CategoricalDistribution(("padded", "valid")), "scientific"),
        Parameter("pool", CategoricalDistribution(("avg", "max")), "scientific"),
        Parameter("norm", CategoricalDistribution(("none", "batch")), "scientific"),
        Parameter("activation", CategoricalDistribution(("sigmoid", "tanh", "relu")), "scientific"),
    ),
    training=TRAINING,
    reference={
        "width": 6,
        "kernel": 5,
        "border": "padded",
        "pool": "avg",
        "norm": "none",
        "activation": "sigmoid",
        **plain_sgd(0.9, 256),
    },
    smallest_image=6,
)

PLAIN_CNN = Space(
    name="plain_cnn",
    network="plain_cnn",
    description="LeNet with ReLU, maximum pools and a 1x1 convolution.",
    architecture=(
        WIDTH,
        KERNEL,
        Parameter("norm", CategoricalDistribution(("none", "batch")), "scientific"),
        Parameter("activation", CategoricalDistribution(("relu", "gelu", "tanh")), "scientific"),
    ),
    training=TRAINING,
    reference={"width": 6, "kernel": 5, "norm": "none", "activation": "relu", **plain_adam(1e-3, 64)},
    smallest_image=6,
)
