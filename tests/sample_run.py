"""Write a run folder as a study would, without training anything: made-up curves, real events and files."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

MAX_EPOCHS = 9
RUNGS = (1, 3)
DIGITS = tuple(str(digit) for digit in range(10))
PER_CLASS = 36  # test images of each class

SCORES = ("score", "cutoff", "train_score", "val_score", "test_score")  # fields of events

Config = dict[str, Any]


def decibels(score: float) -> float:
    """A score between 0 and 1 as a PSNR."""
    return round(14 + 10 * score, 4)


def parameters() -> list[dict[str, Any]]:
    """Return hyperparameters of every type, two of them conditional."""
    return [
        _categorical("width", [8, 16, 32], "architecture"),
        {**_range("blocks", "int", 1, 3), "kind": "architecture", "role": "scientific"},
        _categorical("activation", ["relu", "gelu", "silu"], "architecture"),
        _categorical("optimizer", ["sgd", "adamw"], "training"),
        {**_range("sgd_lr", "float", 0.001, 1.0, log=True), "when": {"optimizer": ["sgd"]}},
        {**_range("adamw_lr", "float", 0.0001, 0.1, log=True), "when": {"optimizer": ["adamw"]}},
        {**_range("weight_decay", "float", 1e-6, 1e-2, log=True)},
        _categorical("augment", [True, False], "training"),
    ]


def _categorical(name: str, choices: list[Any], kind: str) -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "type": "categorical",
        "choices": choices,
        "role": "scientific" if kind == "architecture" else "nuisance",
        "when": None,
    }


def _range(name: str, of: str, low: float, high: float, log: bool = False) -> dict[str, Any]:
    numbers = {"type": of, "low": low, "high": high, "log": log}
    return {"name": name, "kind": "training", **numbers, "role": "nuisance", "when": None}


REFERENCE: Config = {
    "width": 16,
    "blocks": 2,
    "activation": "relu",
    "optimizer": "sgd",
    "sgd_lr": 0.1,
    "weight_decay": 5e-4,
    "augment": True,
}


@dataclass
class SampleRun:
    """What kind of run to write. The defaults give a finished study of two spaces in which everything
    happened.
    """

    spaces: tuple[str, ...] = ("resnet", "densenet")
    trials: int = 24
    classes: tuple[str, ...] = DIGITS
    seeds: int = 4
    final: bool = True
    all_failed: bool = False
    stopped_first: bool = False
    accidents: bool = True
    closed: bool = True
    metric: str = "accuracy"
    data: str = "digits"
    experiment: dict[str, Any] = field(default_factory=dict)
    restored: bool = False  # images in, images out: scores are PSNR in dB
    events: list[dict[str, Any]] = field(default_factory=list)
    clock: float = 1_780_000_000.0

    def write(self, folder: Path) -> Path:
        """Write the run folder and return it."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "study.json").write_text(json.dumps(self.plan()), encoding="utf-8")
        self._search()
        if self.final:
            self._finals(folder)
        if self.closed:
            self._log("study_closed", reason="finished")
        lines = "".join(json.dumps(event) + "\n" for event in self.events)
        (folder / "events.jsonl").write_text(lines, encoding="utf-8")
        return folder

    def plan(self) -> dict[str, Any]:
        """Return the content of `study.json`."""
        images = len(self.classes) * PER_CLASS
        splits = {"train": 1150, "validation": 287, "test": images}
        return {
            "format": 1,
            "name": "-".join([*self.spaces, "digits"]),
            "created": "2026-11-22T02:30:00+00:00",
            "dataset": {
                "name": self.data,
                "source": f"scikit-learn load_{self.data}: UCI optical recognition of handwritten digits",
                "task": "restoration" if self.restored else "classification",
                "classes": [] if self.restored else list(self.classes),
                "image_shape": [1, 8, 8],
                "splits": {name: {"images": n, "sha256": self._checksum(name)} for name, n in splits.items()},
            },
            "metric": {"name": "PSNR", "unit": "dB", "direction": "maximize", "chance": decibels(0.1)}
            if self.restored
            else {"name": self.metric, "unit": "fraction", "direction": "maximize", "chance": 0.1},
            "spaces": {space: self._space(space) for space in self.spaces},
            "trials": self.trials,
            "max_epochs": MAX_EPOCHS,
            "rungs": list(RUNGS),
            "reduction_factor": 3,
            "sampler": {"random": 11, "tpe": {"multivariate": True}, "stopped": "pruned"},
            "final": {"configs": 1, "seeds": self.seeds},
            "experiment": self.experiment,
            "seed": 0,
            "resources": {"cpus_per_trial": 1, "gpus_per_trial": 0},
            "command": ["python", "-m", "study.run", "--space", *self.spaces],
            "git": {"commit": "6ca6896d1f0c4b1c9d0f3c3f6b7a9a1e2d3c4b5a", "dirty": False},
            "versions": {"python": "3.11.7", "torch": "2.15.0", "ray": "2.60.0", "optuna": "5.0.0"},
            "hardware": {"cpus": 2, "cpu": "Imaginary CPU", "memory_gib": 24, "gpus": []},
        }

    def _checksum(self, split: str) -> str:
        return "c3" * 32 if self.data == "digits" else hashlib.sha256(f"{self.data} {split}".encode()).hexdigest()

    def _space(self, space: str) -> dict[str, Any]:
        description = f"A small {space} for small images."
        return {
            "network": space,
            "description": description,
            "parameters": parameters(),
            "reference": REFERENCE,
            "sha256": "7e" * 32,
        }

    def _log(self, event: str, **fields: object) -> None:
        if self.restored:
            fields |= {name: decibels(float(str(fields[name]))) for name in SCORES if fields.get(name) is not None}
        self.clock += 0.37
        self.events.append({"event": event, "time": round(self.clock, 2), **fields})

    def _search(self) -> None:
        self._log(
            "study_opened",
            trials=self.trials,
            slots=2,
            time_budget=None,
            command=["python", "-m", "study.run"],
        )
        at_rung: dict[tuple[str, int], list[float]] = {}
        for index in range(self.trials):
            for space in self.spaces:
                self._trial(space, index, at_rung)

    def _trial(self, space: str, index: int, at_rung: dict[tuple[str, int], list[float]]) -> None:
        rng = np.random.default_rng([index, len(space)])
        trial, config = f"{space}-{index:04d}", REFERENCE if index == 0 else _sampled(rng)
        origin = "reference" if index == 0 else "random" if index < 11 else "tpe"
        self._log(
            "suggested",
            trial=trial,
            space=space,
            index=index,
            origin=origin,
            config=config,
            seed=index * 7919,
        )
        if index == self.trials - 1 and not self.closed:
            return  # suggested, waiting for a slot
        self._log("started", trial=trial, **_place(config))
        fate = self._fate(index)
        if fate == "failed":
            error = "RuntimeError: <b>out of memory</b> & no more"
            self._log("ended", trial=trial, state="failed", epochs_trained=0, error=error)
            return
        curve = _curve(rng, _quality(config, space, rng))
        for epoch in range(1, MAX_EPOCHS + 1):
            if fate == "diverged" and epoch == 2:
                self._log("epoch", trial=trial, **_row(epoch, None, config))
                self._log("ended", trial=trial, state="diverged", epochs_trained=2, error="the loss is not finite")
                return
            self._log("epoch", trial=trial, **_row(epoch, curve[epoch - 1], config))
            if fate == "interrupted" and epoch == 5:
                self._log("ended", trial=trial, state="interrupted", epochs_trained=5, error=None)
                return
            if (
                epoch in RUNGS
                and not fate
                and self._stops(trial, epoch, curve[epoch - 1], at_rung.setdefault((space, epoch), []))
            ):
                self._log("ended", trial=trial, state="stopped", epochs_trained=epoch, error=None)
                return
        self._log("ended", trial=trial, state="finished", epochs_trained=MAX_EPOCHS, error=None)

    def _fate(self, index: int) -> str:
        if self.all_failed:
            return "failed"
        return {4: "diverged", 6: "failed", 9: "interrupted"}.get(index, "") if self.accidents else ""

    def _stops(self, trial: str, epoch: int, score: float, known: list[float]) -> bool:
        known.append(score)
        best = sorted(known, reverse=True)
        cutoff = best[max(1, len(known) // 3) - 1] if len(known) >= 3 else None
        stops = self.stopped_first or (cutoff is not None and score < cutoff)
        action = "stop" if stops else "continue"
        self._log(
            "decision",
            trial=trial,
            epoch=epoch,
            score=score,
            cutoff=cutoff,
            compared=len(known),
            action=action,
        )
        return stops

    def _finals(self, folder: Path) -> None:
        best = {space: self._best(space) for space in self.spaces}
        finals = []
        for number, (space, trial, score) in enumerate(row for row in best.values() if row):
            self._log("final_chosen", space=space, rank=1, trial=trial, score=score, epochs_trained=MAX_EPOCHS)
            finals += [self._final(folder, space, trial, seed, number) for seed in range(1, self.seeds + 1)]
        if not finals:
            return
        images = len(self.classes) * PER_CLASS
        self._log("test_opened", finals=[name for name, *_ in finals], images=images, sha256="c3" * 32)
        for name, loss, score in finals:
            self._log("final_tested", final=name, test_loss=loss, test_score=score, images=images)
        if self.restored:
            _write_pairs(folder / "final" / "test_images.npz")
        else:
            _write_images(folder / "final" / "test_images.npz", len(self.classes))

    def _best(self, space: str) -> tuple[str, str, float] | None:
        done = {e["trial"] for e in self.events if e["event"] == "ended" and e["state"] == "finished"}
        scores = {e["trial"]: e["val_score"] for e in self.events if e["event"] == "epoch" and e["epoch"] == MAX_EPOCHS}
        mine = {trial: score for trial, score in scores.items() if trial in done and trial.startswith(space)}
        return (space, max(mine, key=mine.__getitem__), max(mine.values())) if mine else None

    def _final(self, folder: Path, space: str, trial: str, seed: int, number: int) -> tuple[str, float, float]:
        rng = np.random.default_rng([seed, number, 99])
        name = f"{trial}-seed{seed}"
        place = _place(REFERENCE)
        self._log("final_started", final=name, space=space, trial=trial, seed=seed, **place)
        curve = _curve(rng, 0.975 - 0.02 * number + rng.normal(0, 0.004))
        for epoch in range(1, MAX_EPOCHS + 1):
            self._log("final_epoch", final=name, **_row(epoch, curve[epoch - 1], REFERENCE))
        self._log("final_ended", final=name, state="finished", epochs_trained=MAX_EPOCHS, error=None)
        if self.restored:
            return name, 0.01, _write_restored(folder / "final" / name, curve[-1], rng)
        return name, *_write_predictions(folder / "final" / name, curve[-1], len(self.classes), rng)


def _sampled(rng: np.random.Generator) -> Config:
    optimizer = str(rng.choice(["sgd", "adamw"]))
    lr = ("sgd_lr", 10 ** rng.uniform(-3, 0)) if optimizer == "sgd" else ("adamw_lr", 10 ** rng.uniform(-4, -1))
    return {
        "width": int(rng.choice([8, 16, 32])),
        "blocks": int(rng.integers(1, 4)),
        "activation": str(rng.choice(["relu", "gelu", "silu"])),
        "optimizer": optimizer,
        lr[0]: float(lr[1]),
        "weight_decay": float(10 ** rng.uniform(-6, -2)),
        "augment": bool(rng.integers(2)),
    }


def _quality(config: Config, space: str, rng: np.random.Generator) -> float:
    off = abs(np.log10(config.get("sgd_lr", 30 * config.get("adamw_lr", 0.0)) / 0.1))
    bonus = 0.01 * (config["width"] / 16) + (0.01 if space == "resnet" else 0.0)
    return float(np.clip(0.96 + bonus - 0.09 * off**2 + rng.normal(0, 0.01), 0.15, 0.985))


def _curve(rng: np.random.Generator, quality: float) -> list[float]:
    epochs = np.arange(1, MAX_EPOCHS + 1)
    clean = quality - (quality - 0.1) * np.exp(-epochs / 1.8)
    return [round(float(score), 4) for score in np.clip(clean + rng.normal(0, 0.006, len(epochs)), 0, 1)]


def _place(config: Config) -> dict[str, Any]:
    where = {"device": "cpu", "precision": "float32", "node": "node-1", "worker": 4242}
    parameters = 1000 * config["width"] * config["blocks"]
    size = {"parameters": parameters, "multiply_adds": 45 * parameters + 2000 * config["width"]}
    return {"attempt": 1, "from_epoch": 0, **size, **where}


def _row(epoch: int, score: float | None, config: Config) -> dict[str, Any]:
    loss = None if score is None else round(2.6 * (1.02 - score), 4)
    return {
        "epoch": epoch,
        "train_loss": None if loss is None else round(0.9 * loss, 4),
        "train_score": None if score is None else min(1.0, round(score + 0.01, 4)),
        "val_loss": loss,
        "val_score": score,
        "lr": round(0.1 * (1 - epoch / (MAX_EPOCHS + 1)), 5),
        "seconds": 0.02 * config["width"],
        "images_per_second": 80_000 / config["width"],
    }


def _write_predictions(folder: Path, accuracy: float, classes: int, rng: np.random.Generator) -> tuple[float, float]:
    label = np.repeat(np.arange(classes), PER_CLASS)
    said = np.where(rng.random(len(label)) < accuracy, label, rng.integers(classes, size=len(label)))
    sure = rng.uniform(0.5, 1.0, len(label))
    probability = np.full((len(label), classes), ((1 - sure) / max(1, classes - 1))[:, None])
    probability[np.arange(len(label)), said] = sure
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "predictions.npz", label=label, probability=probability.astype(np.float32))
    loss = float(-np.log(probability[np.arange(len(label)), label]).mean())
    return round(loss, 4), float((said == label).mean())


def _write_images(path: Path, classes: int) -> None:
    rng = np.random.default_rng(5)
    index = np.arange(0, classes * PER_CLASS, 3)
    rows, columns = np.mgrid[:8, :8]
    shapes = [np.abs(np.hypot(rows - 3.5, columns - 3.5) - 1 - 0.3 * k) < 0.8 for k in range(classes)]
    image = np.stack([200 * shapes[i // PER_CLASS] + rng.integers(0, 55, (8, 8)) for i in index])
    np.savez(path, index=index, image=image[..., None].astype(np.uint8))


TEST_PAIRS, KEPT_PAIRS = 40, 12


def _pictures(seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 255, (KEPT_PAIRS, 12, 16, 3), dtype=np.uint8)


def _write_pairs(path: Path) -> None:
    rng, kept = np.random.default_rng(6), np.arange(0, 3 * KEPT_PAIRS, 3)
    before: dict[str, Any] = {"psnr": rng.normal(15, 2, TEST_PAIRS), "ssim": rng.uniform(0.5, 0.8, TEST_PAIRS)}
    np.savez(path, index=kept, image=_pictures(1), target=_pictures(2), **before)


def _write_restored(folder: Path, score: float, rng: np.random.Generator) -> float:
    """The score of a final run, which is the mean PSNR that it keeps."""
    psnr = 14 + 10 * score + rng.normal(0, 1, TEST_PAIRS)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "predictions.npz", psnr=psnr, ssim=rng.uniform(0.8, 0.9, TEST_PAIRS), restored=_pictures(3))
    return (float(psnr.mean()) - 14) / 10
