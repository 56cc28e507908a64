"""A few convolutions (B), with and without dilation, and the same by hand.

Reference settings: B's networks and training, Adam 1e-3 with batch 512. On small data those are few steps an epoch.
"""

from optuna.distributions import CategoricalDistribution, IntDistribution

from study.space import Parameter, Space
from study.spaces.training import TRAINING, plain_adam

WIDTH = Parameter("width", CategoricalDistribution((8, 16, 32, 64)), "scientific")
KERNEL = Parameter("kernel", CategoricalDistribution((3, 5, 7)), "scientific")
NORM = Parameter("norm", CategoricalDistribution(("none", "batch", "group")), "scientific")
ACTIVATION = Parameter("activation", CategoricalDistribution(("relu", "gelu", "tanh")), "scientific")
TRAINING_OF_B = plain_adam(1e-3, 512)

CONV = Space(
    name="conv",
    network="conv",
    description="`depth` convolutions with norm and activation, global average, linear.",
    architecture=(WIDTH, Parameter("depth", IntDistribution(1, 5), "scientific"), KERNEL, NORM, ACTIVATION),
    training=TRAINING,
    reference={"width": 32, "depth": 3, "kernel": 3, "norm": "batch", "activation": "relu", **TRAINING_OF_B},
)

# The word "grids" stands in tables and figures beside each pattern that `models.conv.satisfies_hybrid_rule` refuses.
DILATIONS = ("1-1-1", "1-2-3", "1-2-5", "1-2-5-1", "1-2-9 grids", "2-2-2 grids", "2-4-6 grids")

DILATED = Space(
    name="dilated",
    network="dilated",
    description="Convolutions with a dilation each, global average, linear. Patterns that skip pixels say `grids`.",
    architecture=(WIDTH, Parameter("dilations", CategoricalDistribution(DILATIONS), "scientific"), NORM, ACTIVATION),
    training=TRAINING,
    reference={"width": 32, "dilations": "1-2-5", "norm": "batch", "activation": "relu", **TRAINING_OF_B},
)

HANDWRITTEN = Space(
    name="handwritten",
    network="handwritten",
    description="One convolution and batch norm written by hand, global average, linear.",
    architecture=(WIDTH, KERNEL),
    training=TRAINING,
    reference={"width": 32, "kernel": 3, **TRAINING_OF_B},
)
