"""A few convolutions (B), with and without dilation, and the same by hand.

Reference settings: B's networks and training, Adam 1e-3 with batch 512, for `conv` and `dilated`. For the layer by hand
B prints none, and B's left it at 25 % of the digits after 20 epochs: the training of He et al. 2016 with batch 64 and
learning rate 0.3 came to 91 and 89 %, with their 128 and 0.1 to 72 % (two cores, 2026-11-22, seeds 0 and 1).

Kernels begin at 3, the smallest that sees a neighbour. The other forms of the layer by hand give the same and take
longer, so that only an experiment has them (`study/experiments/convolution_by_hand.toml`).
"""

from optuna.distributions import CategoricalDistribution, IntDistribution

from study.space import Parameter, Space
from study.spaces.training import HE_2016, TRAINING, plain_adam

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

# The word "grids" stands in tables and figures beside each pattern that `models.conv.satisfies_hybrid_rule` refuses. It
# speaks of the pattern. On a map no wider than a dilation that layer sees padding alone beside its middle, and patterns
# that differ there compute alike: the description says up to which size.
DILATIONS = ("1-1-1", "1-2-3", "1-2-5", "1-2-5-1", "1-2-9 grids", "2-2-2 grids", "2-4-6 grids")

DILATED = Space(
    name="dilated",
    network="dilated",
    description="Convolutions with a dilation each, global average, linear. Patterns that skip pixels say `grids`; on "
    "images below 16 pixels some dilations are wider than their map and see padding alone.",
    architecture=(WIDTH, Parameter("dilations", CategoricalDistribution(DILATIONS), "scientific"), NORM, ACTIVATION),
    training=TRAINING,
    reference={"width": 32, "dilations": "1-2-5", "norm": "batch", "activation": "relu", **TRAINING_OF_B},
)

HANDWRITTEN = Space(
    name="handwritten",
    network="handwritten",
    description="One convolution, batch norm and global average written by hand, then linear.",
    architecture=(WIDTH, KERNEL, Parameter("form", CategoricalDistribution(("unfold",)), "fixed")),
    training=TRAINING,
    reference={"width": 32, "kernel": 3, "form": "unfold", **HE_2016, "sgd_lr": 0.3, "batch_size": 64},
)
