"""What networks are trained for: the class of an image (`classification`), or another image (`restoration`).

Both modules have the same names: `Objective`, what a training step needs; `evaluate`, loss and score of a split;
`examine`, the same of the test split, with what the report shows kept beside; `keep_images`, the test images that go
with it. They need torch, so the driver leaves them alone.
"""

from types import ModuleType

from data_utils.batches import Batches, PairedBatches
from study.tasks import classification, restoration


def task_module(batches: Batches) -> ModuleType:
    """Return the module of the task that these batches are of."""
    return restoration if isinstance(batches, PairedBatches) else classification
