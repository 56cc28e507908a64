"""ResNet with basic blocks, and "plain": the same layers without shortcuts.

Reference setting: the training of He et al. 2016, since sources A and B print either none or one for 200 epochs of
CIFAR-10 (Adam 1e-3, batch 512), whose batches are too few on small data. The depth is that of A and B, ResNet-18; the
width is a quarter of theirs, 16 for 64: their 11 million parameters are far more than small images need.
"""

from optuna.distributions import CategoricalDistribution, IntDistribution

from study.space import Parameter, Space
from study.spaces.training import HE_2016, TRAINING

ARCHITECTURE = (
    Parameter("width", CategoricalDistribution((8, 12, 16, 24)), "scientific"),
    Parameter("blocks", IntDistribution(1, 3), "scientific"),
)
REFERENCE = {"width": 16, "blocks": 2, **HE_2016}

RESNET = Space(
    name="resnet",
    network="resnet",
    description="ResNet with basic blocks: four stages, 2 + 8 x blocks layers (blocks 2: ResNet-18).",
    architecture=ARCHITECTURE,
    training=TRAINING,
    reference=REFERENCE,
)

PLAIN = Space(
    name="plain",
    network="plain",
    description="The layers of ResNet without its shortcuts (blocks 2: plain-18).",
    architecture=ARCHITECTURE,
    training=TRAINING,
    reference=REFERENCE,
)
