"""AlexNet, VGG, NiN and GoogLeNet.

Reference settings: D's layers and training, SGD with the learning rate and batch that D prints for each. The width is
a quarter of D's, since 47 and 129 million parameters are far more than small images need; D's is offered too. Images
are not resized to D's 224 or 96 pixels: below 65 and 67, AlexNet and NiN take their small form, and GoogLeNet, whose
stem keeps a sixteenth of the pixels, may take a stem of 3x3. With these settings little is learned from few small
images in 20 epochs; they stay, since a report shall say what tuning gained over what the source prints.

VGG's family begins at 11 layers, its reference.
"""

from optuna.distributions import CategoricalDistribution, FloatDistribution

from study.space import Parameter, Space
from study.spaces.training import TRAINING, plain_sgd

NORM = Parameter("norm", CategoricalDistribution(("none", "batch")), "scientific")
ACTIVATION = Parameter("activation", CategoricalDistribution(("relu", "gelu", "silu")), "scientific")
DROPOUT = Parameter("dropout", FloatDistribution(0.0, 0.8), "nuisance")
OF_96 = Parameter("width", CategoricalDistribution((12, 24, 48, 96)), "scientific")
OF_64 = Parameter("width", CategoricalDistribution((8, 16, 32, 64)), "scientific")

ALEXNET = Space(
    name="alexnet",
    network="alexnet",
    description="AlexNet: five convolutions, three linear layers; all widths follow the first (96: the original).",
    architecture=(OF_96, NORM, ACTIVATION, DROPOUT),
    training=TRAINING,
    reference={"width": 24, "norm": "none", "activation": "relu", "dropout": 0.5, **plain_sgd(0.01, 128)},
    smallest_image=8,
)

VGG = Space(
    name="vgg",
    network="vgg",
    description="VGG with 11, 13 or 16 layers; all widths follow the first (64: the original).",
    architecture=(
        OF_64,
        Parameter("depth", CategoricalDistribution((11, 13, 16)), "scientific"),
        NORM,
        ACTIVATION,
        DROPOUT,
    ),
    training=TRAINING,
    reference={"width": 16, "depth": 11, "norm": "none", "activation": "relu", "dropout": 0.5, **plain_sgd(0.05, 128)},
)

NIN = Space(
    name="nin",
    network="nin",
    description="Network in network: 1x1 convolutions after each, no linear layer; width 96 is the original.",
    architecture=(OF_96, NORM, ACTIVATION, DROPOUT),
    training=TRAINING,
    reference={"width": 24, "norm": "none", "activation": "relu", "dropout": 0.5, **plain_sgd(0.1, 128)},
    smallest_image=8,
)

GOOGLENET = Space(
    name="googlenet",
    network="googlenet",
    description="GoogLeNet: nine inception blocks; all widths follow the stem's (64: the original).",
    architecture=(
        Parameter("stem", CategoricalDistribution(("3x3", "7x7")), "scientific"),
        OF_64,
        NORM,
        ACTIVATION,
        DROPOUT,
    ),
    training=TRAINING,
    reference={"stem": "7x7", "width": 16, "norm": "none", "activation": "relu", "dropout": 0.0, **plain_sgd(0.1, 128)},
)
