"""DenseNet, and the simple DenseNet of source C.

Reference settings: `densenet` has A's layers (bottlenecks, growth 12, compression 0.5, 3x3 stem) in D's four blocks
of four, since A's 58 layers a side are too slow for small images on two cores; both are offered. Its training is D's,
SGD 0.1 with batch 256, since A prints none. `densenet_simple` is C's; C prints no training, so that of He et al. 2016
is taken as for `resnet`, which C compares it with, but with a tenth of its learning rate: at 0.1 the network without
norm in its linear layers diverges.

Dropout follows each 3x3 convolution, as Huang et al. use it where images are not augmented.
"""

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from study.space import Parameter, Space
from study.spaces.resnet import ACTIVATION, NORM
from study.spaces.training import HE_2016, TRAINING, plain_sgd

DROPOUT = Parameter("dropout", FloatDistribution(0.0, 0.5), "nuisance")
AFTER = {"norm": "batch", "activation": "relu", "dropout": 0.0}

DENSENET = Space(
    name="densenet",
    network="densenet",
    description="DenseNet: layers per block in `blocks`; with bottlenecks it is DenseNet-BC.",
    architecture=(
        Parameter("stem", CategoricalDistribution(("3x3", "7x7")), "scientific"),
        Parameter("growth", CategoricalDistribution((8, 12, 16, 32)), "scientific"),
        Parameter("blocks", CategoricalDistribution(("2-2-2-2", "4-4-4-4", "4-8-8", "6-12-24-16")), "scientific"),
        Parameter("bottleneck", CategoricalDistribution((False, True)), "scientific"),
        Parameter("compression", FloatDistribution(0.3, 1.0), "scientific"),
        *(NORM, ACTIVATION, DROPOUT),
    ),
    training=TRAINING,
    reference={
        "stem": "3x3",
        "growth": 12,
        "blocks": "4-4-4-4",
        "bottleneck": True,
        "compression": 0.5,
        **AFTER,
        **plain_sgd(0.1, 256),
    },
)

DENSENET_SIMPLE = Space(
    name="densenet_simple",
    network="densenet_simple",
    description="Two dense blocks with bottlenecks, the second with twice the growth, and two linear layers.",
    architecture=(
        Parameter("growth", CategoricalDistribution((8, 16, 32, 48)), "scientific"),
        Parameter("layers", IntDistribution(2, 8), "scientific"),
        Parameter("hidden", CategoricalDistribution((128, 256, 512, 1024)), "scientific"),
        *(NORM, ACTIVATION, DROPOUT),
    ),
    training=TRAINING,
    reference={"growth": 32, "layers": 6, "hidden": 512, **AFTER, **HE_2016, "sgd_lr": 0.01},
    smallest_image=3,
)
