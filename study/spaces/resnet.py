"""ResNet with basic blocks, and "plain": the same layers without shortcuts.

Reference setting: the training of He et al. 2016, since the sources print none (A, C), one for 200 epochs of CIFAR-10
whose batches are too few on small data (B: Adam 1e-3, batch 512), or one without shuffling (E: Adam 1e-4, batch
1024). The layers are those of A and B, ResNet-18 with a 3x3 stem; the width is a quarter of theirs, 16 for 64: their
11 million parameters are far more than small images need, and a study on two cores ends in minutes.
"""

from optuna.distributions import CategoricalDistribution, IntDistribution

from study.space import Parameter, Space
from study.spaces.training import HE_2016, TRAINING

ARCHITECTURE = (
    Parameter("stem", CategoricalDistribution(("3x3", "3x3-valid", "7x7")), "scientific"),
    Parameter("width", CategoricalDistribution((8, 12, 16, 24)), "scientific"),
    Parameter("stages", CategoricalDistribution((1, 2, 3, 4)), "scientific"),
    Parameter("blocks", IntDistribution(1, 3), "scientific"),
)
REFERENCE = {"stem": "3x3", "width": 16, "stages": 4, "blocks": 2}

RESNET = Space(
    name="resnet",
    network="resnet",
    description="ResNet with basic blocks: 2 + 2 x stages x blocks layers (4 and 2: ResNet-18).",
    architecture=(*ARCHITECTURE, Parameter("shortcut", CategoricalDistribution(("norm", "bare")), "scientific")),
    training=TRAINING,
    reference={**REFERENCE, "shortcut": "norm", **HE_2016},
    smallest_image=4,
)

PLAIN = Space(
    name="plain",
    network="plain",
    description="The layers of ResNet without its shortcuts (4 stages of 2 blocks: plain-18).",
    architecture=ARCHITECTURE,
    training=TRAINING,
    reference={**REFERENCE, **HE_2016},
    smallest_image=4,
)
