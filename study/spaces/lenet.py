"""LeNet, and the plain CNN of source C.

Reference settings: `lenet` is D's, SGD 0.9 with batch 256. `plain_cnn` is C's network; C prints no training, so Adam
1e-3 with batch 128 is taken: without batch norm the training of He et al. 2016 may well diverge.
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
    reference={"width": 6, "kernel": 5, "norm": "none", "activation": "relu", **plain_adam(1e-3, 128)},
    smallest_image=6,
)
