"""ResNet with basic blocks, and "plain": the same layers without shortcuts.

Reference setting: the training of He et al. 2016, since the sources print none (A, C), one for 200 epochs of CIFAR-10
whose batches are too few on small data (B: Adam 1e-3, batch 512), or one without shuffling (E: Adam 1e-4, batch
1024). The layers are those of A and B, ResNet-18 with a 3x3 stem; the width is a quarter of theirs, 16 for 64: their
11 million parameters are far more than small images need, and a study on two cores ends in minutes.

The widths end at 32, that of B's residual toy. An epoch of the digits takes 5.1 s of a core at width 64, 1.5 s at 32,
0.4 s at 16 (two cores, 2026-11-22, n = 1 each), so that a first study would take several times as long; with a GPU, a
space of your own may offer 64 (README). `stages` ends at four, as in the paper: at 32 pixels a fifth has nothing left
to halve.

Norm and activation vary, no norm at all is not offered: without it plain-18 stays at chance and ResNet-18 comes to 73
for 98 % (the digits, 20 epochs of the reference, seed 0). No dropout: He et al. do without it beside batch norm.
"""

from optuna.distributions import CategoricalDistribution, IntDistribution

from study.space import Parameter, Space
from study.spaces.training import HE_2016, TRAINING

NORM = Parameter("norm", CategoricalDistribution(("batch", "group")), "scientific")
ACTIVATION = Parameter("activation", CategoricalDistribution(("relu", "gelu", "silu")), "scientific")
ARCHITECTURE = (
    Parameter("stem", CategoricalDistribution(("3x3", "3x3-valid", "7x7")), "scientific"),
    Parameter("width", CategoricalDistribution((8, 12, 16, 24, 32)), "scientific"),
    Parameter("stages", CategoricalDistribution((1, 2, 3, 4)), "scientific"),
    Parameter("blocks", IntDistribution(1, 3), "scientific"),
    NORM,
    ACTIVATION,
)
REFERENCE = {"stem": "3x3", "width": 16, "stages": 4, "blocks": 2, "norm": "batch", "activation": "relu"}

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
