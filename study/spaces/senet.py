"""SE-ResNet with pre-activation blocks.

Reference setting: the training of He et al. 2016 as for `resnet`, since C prints none and compares the two; C's
layers, SE-ResNet-18 with squeeze 16; a quarter of its width, as for `resnet`.
"""

from optuna.distributions import CategoricalDistribution, IntDistribution

from study.space import Parameter, Space
from study.spaces.training import HE_2016, TRAINING

SENET = Space(
    name="senet",
    network="senet",
    description="ResNet with squeeze and excitation, pre-activation: 2 + 8 x blocks layers (blocks 2: SE-ResNet-18).",
    architecture=(
        Parameter("width", CategoricalDistribution((8, 12, 16, 24)), "scientific"),
        Parameter("blocks", IntDistribution(1, 3), "scientific"),
        Parameter("squeeze", CategoricalDistribution((2, 4, 8, 16)), "scientific"),
    ),
    training=TRAINING,
    reference={"width": 16, "blocks": 2, "squeeze": 16, **HE_2016},
)
