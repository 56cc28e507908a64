"""Feed-forward network.

Reference setting: B's training, Adam 1e-3 with batch 512. B prints no sizes: two hidden layers of 512 are taken, a
common choice.
"""

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from study.space import Parameter, Space
from study.spaces.training import TRAINING, plain_adam

MLP = Space(
    name="mlp",
    network="mlp",
    description="The image as one vector through `depth` hidden layers of `width`.",
    architecture=(
        Parameter("width", CategoricalDistribution((64, 128, 256, 512, 1024)), "scientific"),
        Parameter("depth", IntDistribution(1, 5), "scientific"),
        Parameter("norm", CategoricalDistribution(("none", "batch", "layer")), "scientific"),
        Parameter("activation", CategoricalDistribution(("relu", "gelu", "tanh")), "scientific"),
        Parameter("dropout", FloatDistribution(0.0, 0.6), "nuisance"),
    ),
    training=TRAINING,
    reference={
        "width": 512,
        "depth": 2,
        "norm": "none",
        "activation": "relu",
        "dropout": 0.0,
        **plain_adam(1e-3, 512),
    },
)
