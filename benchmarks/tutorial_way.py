"""A study as Ray's own PyTorch tutorial for CIFAR-10 teaches it; the peer of benchmarks/throughput.py.

    python -m benchmarks.tutorial_way DATA_DIR RUNS.json LOADER_PROCESSES decoded|files

Each trial is a function of Ray Tune in a worker of its own, loads the data set, splits it at random, makes DataLoaders
of PIL images with torchvision's transforms, trains in fp32, reads the loss after every step, validates and reports a
checkpoint after every epoch. Images are `decoded` into one array before the first trial, as those of torchvision's
CIFAR10 are, or read as `files` whenever they are needed, as torchvision's ImageFolder does, which is what people with a
folder of images use. A DataLoader has LOADER_PROCESSES, of which the tutorial starts 8 an epoch, or none. RUNS.json
lists the runs (configuration, seed, epochs); the last validation score of each goes to scores.json beside it.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from PIL import Image
from ray import tune
from torch import nn
from torch.utils.data import DataLoader, Dataset, random_split
from torchvision import transforms
from torchvision.datasets import ImageFolder

import models

TRANSFORM = transforms.Compose(
    [
        transforms.RandomCrop(32, padding=4),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    ]
)
EVALUATION = transforms.Compose(TRANSFORM.transforms[2:])


class Decoded(Dataset[tuple[torch.Tensor, int]]):
    """Images in one file, given as torchvision's CIFAR10 gives them: an array made a PIL image, then transformed."""

    def __init__(self, file: Path, transform: Any) -> None:
        content = np.load(file)
        self._images, self._labels, self._transform = content["images"], content["labels"], transform

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self._transform(Image.fromarray(self._images[index])), int(self._labels[index])


def loaders(source: Path, batch_size: int, seed: int, processes: int) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Return the loaders of training and validation: four fifths and one fifth of what a file or a folder holds."""
    parts = []
    for position, transform in enumerate((TRANSFORM, EVALUATION)):
        everything: Any = (ImageFolder if source.is_dir() else Decoded)(source, transform)
        share = int(0.8 * len(everything))
        split = random_split(everything, [share, len(everything) - share], torch.Generator().manual_seed(seed))
        parts.append(DataLoader(split[position], batch_size, shuffle=position == 0, num_workers=processes))
    return parts[0], parts[1]


def train_cifar(config: dict[str, Any]) -> None:
    """Train one run, as the tutorial does."""
    chosen = config["run"]["config"]
    torch.manual_seed(config["run"]["seed"] % 2**31)
    architecture = {name: chosen[name] for name in ("width", "kernel", "norm", "activation")}
    network = models.build("plain_cnn", in_channels=3, num_classes=10, image_size=(32, 32), **architecture)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network.to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(network.parameters(), lr=chosen["sgd_lr"], momentum=chosen["momentum"])
    seed, batch_size = config["run"]["seed"] % 2**31, chosen["batch_size"]
    train_loader, val_loader = loaders(Path(config["source"]), batch_size, seed, config["processes"])
    for _ in range(config["run"]["epochs"]):
        running_loss = 0.0
        network.train()
        for batch in train_loader:
            images, labels = batch[0].to(device), batch[1].to(device)
            optimizer.zero_grad()
            loss = criterion(network(images), labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
        val_loss, val_score = validate(network, val_loader, criterion, device)
        with tempfile.TemporaryDirectory() as folder:
            torch.save((network.state_dict(), optimizer.state_dict()), Path(folder) / "checkpoint.pt")
            metrics = {"train_loss": running_loss / len(train_loader), "loss": val_loss, "score": val_score}
            tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder))


def validate(network: nn.Module, loader: DataLoader[Any], criterion: nn.Module, device: str) -> tuple[float, float]:
    """Return mean loss and accuracy, reading both after every batch."""
    loss, correct, total = 0.0, 0, 0
    network.eval()
    with torch.no_grad():
        for batch in loader:
            images, labels = batch[0].to(device), batch[1].to(device)
            logits = network(images)
            loss += criterion(logits, labels).item()
            correct += (logits.argmax(1) == labels).sum().item()
            total += len(labels)
    return loss / len(loader), correct / total


def main() -> None:
    """Train every run of RUNS.json on one core each, or on an equal share of a GPU where there is one."""
    data, runs_file = Path(sys.argv[1]), Path(sys.argv[2])
    source = (data / "train").absolute()  # a trial has another working directory
    if sys.argv[4] == "decoded":
        folder, source = ImageFolder(str(source)), runs_file.with_name("decoded.npz")
        np.savez(source, images=np.stack([np.asarray(image) for image, _ in folder]), labels=np.array(folder.targets))
    ray.init(address="local", log_to_driver=False, include_dashboard=False)
    resources = {"cpu": 1, "gpu": 0.25 if torch.cuda.is_available() else 0}
    runs = json.loads(runs_file.read_text())
    with tempfile.TemporaryDirectory() as storage:
        tuner = tune.Tuner(
            tune.with_resources(train_cifar, resources),
            param_space={"run": tune.grid_search(runs), "source": str(source), "processes": int(sys.argv[3])},
            run_config=tune.RunConfig(storage_path=storage, verbose=0),
        )
        results = tuner.fit()
        scores = {result.config["run"]["key"]: result.metrics["score"] for result in results}
    runs_file.with_name("scores.json").write_text(json.dumps([scores[run["key"]] for run in runs]))


if __name__ == "__main__":
    main()
