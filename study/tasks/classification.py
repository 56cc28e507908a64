"""Images to classes: cross-entropy in nats, accuracy as a fraction."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data_utils.augmentation import Augmentation, heaviest
from data_utils.batches import Batches
from study.config import Config
from study.precision import forward
from study.storage import save_arrays

if TYPE_CHECKING:
    from study.trial import TrialData

SHOWN_IMAGES: Final = 200  # test images kept for the report: the most confident mistakes first


class Objective:
    """What a training step needs, by the hyperparameters of a trial."""

    def __init__(self, config: Config, data: "TrialData") -> None:
        self._label_smoothing: float = config["label_smoothing"]
        self._weights = class_weights(config, data.train.labels, data.num_classes)
        name, mix = config["augmentation"], config["mix"]
        strength = 0.0 if name == "none" else config["strength"]
        alpha = 1.0 if mix == "none" else config["mix_alpha"]
        self.augmentation = Augmentation(name, strength, data.mirror, mix, alpha, data.num_classes)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of logits (B, classes) against labels (B,), or mixed ones (B, classes)."""
        return F.cross_entropy(logits, labels, self._weights, label_smoothing=self._label_smoothing)

    def score(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Accuracy of a batch; of mixed labels the one that weighs most is the right one."""
        return (logits.argmax(dim=1) == heaviest(labels)).float().mean()


def class_weights(config: Config, labels: Tensor, classes: int) -> Tensor | None:
    """Return what each class weighs in the loss, (classes,), None for all alike.

    `balanced`: N / (classes x images of the class), so that each class weighs the same in sum. `class_weights` is a
    hyperparameter that a space may have (`study/spaces/training.py`).
    """
    if "class_weights" not in config or config["class_weights"] == "none":
        return None
    if config["class_weights"] != "balanced":
        raise ValueError(f"class_weights is {config['class_weights']!r}. Valid: none, balanced.")
    counts = torch.bincount(labels, minlength=classes)
    return len(labels) / (classes * counts.clamp_min(1))


@torch.inference_mode()
def predict(model: nn.Module, batches: Batches, dtype: torch.dtype) -> Tensor:
    """Return the logits (N, classes) of every image, in order, on the device; the network computes in `dtype`."""
    model.eval()
    return torch.cat([forward(model, images, dtype) for images, _labels in batches.in_order()])


def evaluate(model: nn.Module, batches: Batches, dtype: torch.dtype) -> tuple[float, float]:
    """Return mean loss in nats and accuracy as a fraction over every image; the network computes in `dtype`."""
    return _judged(predict(model, batches, dtype), batches.labels)


def _judged(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    correct = (logits.argmax(dim=1) == labels).float().mean()
    both = torch.stack([F.cross_entropy(logits, labels), correct]).tolist()
    return both[0], both[1]


def examine(model: nn.Module, test_split: Batches, dtype: torch.dtype, folder: Path) -> tuple[float, float]:
    """Return loss and accuracy on the test split; keep labels and probabilities in `folder`."""
    logits = predict(model, test_split, dtype)  # (N, classes)
    probability = logits.softmax(dim=1).cpu().numpy().astype(np.float32)
    save_arrays(folder / "predictions.npz", label=test_split.labels.cpu().numpy(), probability=probability)
    return _judged(logits, test_split.labels)


def keep_images(folder: Path, test_split: Batches) -> None:
    """Keep the images with the most confident mistakes of any run so far, filled up in a fixed random order."""
    labels = test_split.labels.cpu().numpy()
    mistaken = np.zeros(len(labels))
    for path in sorted(folder.glob("*/predictions.npz")):
        probability = np.load(path)["probability"]
        wrong = probability.argmax(axis=1) != labels
        mistaken = np.maximum(mistaken, np.where(wrong, probability.max(axis=1), 0.0))
    shuffled = np.random.default_rng(0).permutation(len(labels))
    order = shuffled[np.argsort(-mistaken[shuffled], kind="stable")]
    # Half are kept for mistakes, so that right answers can be shown beside them.
    mistakes = order[: SHOWN_IMAGES // 2]
    index = np.concatenate([mistakes, np.setdiff1d(shuffled, mistakes, assume_unique=True)])[:SHOWN_IMAGES]
    [chosen] = test_split.pixels(torch.from_numpy(index), len(index))
    save_arrays(folder / "test_images.npz", index=index, image=chosen.permute(0, 2, 3, 1).cpu().numpy())
