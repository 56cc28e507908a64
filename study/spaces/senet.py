"""SE-ResNet with pre-activation blocks.

Reference setting: the training of He et al. 2016 as for `resnet`, since C prints none and compares the two; C's
layers, SE-ResNet-18 with squeeze 16; a quarter of its width. Stem, width, stages, blocks, norm and activation have the
ranges of `resnet`, so that what differs is the block.
"""

from optuna.distributions import CategoricalDistribution

from study.space import Parameter, Space
from study.spaces.resnet import ARCHITECTURE, REFERENCE
from study.spaces.training import HE_2016, TRAINING

SENET = Space(
    name="senet",
    network="senet",
    description="ResNet with squeeze and excitation, pre-activation: 2 + 2 x stages x blocks layers "
    "(4 and 2: SE-ResNet-18).",
    architecture=(*ARCHITECTURE, Parameter("squeeze", CategoricalDistribution((2, 4, 8, 16, 32)), "scientific")),
    training=TRAINING,
    reference={**REFERENCE, "squeeze": 16, **HE_2016},
    smallest_image=4,
)
