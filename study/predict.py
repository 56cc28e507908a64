"""What the winner of a study says of other images: `python -m study.predict RUN_DIR IMAGE_OR_FOLDER ...`."""

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import analysis
import models
from analysis.tables import StudyTables
from data_utils.decoding import decode, in_order
from data_utils.files import scan, shown
from study.plan import PlanError, check_name, check_own_file
from study.run import Parser, size_of

BATCH: Final = 64  # images


class Given(NamedTuple):
    """An image file, and its name from the folder that was given."""

    path: Path
    name: str


def winner(tables: StudyTables, final: str | None) -> str:
    """Return the final run called `final`, or that of a winner with the highest validation score: the test chooses
    nothing.

    Raises `PlanError` where the study has none that has finished.
    """
    finished = tables.final[tables.final["state"] == "finished"]
    if final is None:
        finished = finished[finished["trial"].isin(tables.chosen["trial"])]
    if finished.empty:
        raise PlanError(f"{tables.run_dir} has no final run that has finished. Let the study finish: --resume it.")
    if final is not None:
        check_name("final run", final, finished["final"].tolist())
        return final
    return str(finished.sort_values("val_score", ascending=False, kind="stable")["final"].iloc[0])


def load(tables: StudyTables, final: str) -> models.Trained:
    """Return the trained network of a final run. That of a space of your own is built by the file that study.json
    names, as at a resume.
    """
    [space] = tables.final.loc[tables.final["final"] == final, "space"]
    network = tables.plan["spaces"][space]["network"]
    check_own_file(network.rpartition(":")[0], tables.run_dir)
    return models.load(tables.run_dir / "final" / final, network=network)


def files(paths: Sequence[Path]) -> tuple[list[Given], list[str]]:
    """Return the images in `paths`, files and folders, and what in these is none. Raises `PlanError` if there are none.

    The names are told apart, so that each can have an answer of its own.
    """
    found: list[Given] = []
    skipped: list[Any] = []
    for path in paths:
        if path.is_dir():
            found += [Given(path / file.name, file.name) for file in scan(path, "", skipped)]
        elif path.exists():
            found.append(Given(path, path.name))
        else:
            raise PlanError(f"{path} does not exist. Give images, or folders of images.")
    if not found:
        raise PlanError(f"{', '.join(map(str, paths))}: no image there. Give images, or folders of images.")
    named: dict[str, Path] = {}
    for path, name in found:
        if named.setdefault(name, path) != path:
            raise PlanError(
                f"{named[name]} and {path} would have one name in the answers. Give the folder that holds both."
            )
    return found, [f"{name} ({reason})" for name, reason in skipped]


def batches(given: Sequence[Given], shape: tuple[int, int, int], unreadable: list[str]) -> Iterator[tuple[Any, Tensor]]:
    """Give the images with those that they are of, (B, C, H, W) uint8, decoded as those of a study are, of that
    `shape`; what cannot be decoded is added to `unreadable`.
    """

    def try_one(file: Given) -> NDArray[np.uint8] | str:
        try:
            return _channels(decode(file.path, shape[1:]), shape[0])
        except Exception as error:  # Pillow has many for a file that is damaged
            return f"{file.name} ({str(error).splitlines()[0] if str(error) else type(error).__name__})"

    named: list[Given] = []
    images: list[NDArray[np.uint8]] = []
    for file, image in zip(given, in_order(try_one, given), strict=True):
        if isinstance(image, str):
            unreadable.append(image)
            continue
        named.append(file)
        images.append(image)
        if len(images) == BATCH:
            yield named, torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
            named, images = [], []
    if images:
        yield named, torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def _channels(image: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Return an image (H, W, C) with as many channels as the network takes: grey thrice, or the grey of a colour."""
    if image.shape[2] == channels:
        return image
    if channels == 3:
        return np.broadcast_to(image, (*image.shape[:2], 3))
    return np.asarray(Image.fromarray(image).convert("L"))[..., None]


@torch.inference_mode()
def classify(
    network: models.Trained, classes: Sequence[str], given: Sequence[Given], out: Path, unreadable: list[str]
) -> int:
    """Write a CSV file to `out`: a row per image with `file`, `prediction`, `probability`, and one column per class.

    Return how many rows it has.
    """
    rows = 0
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.part")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "prediction", "probability", *(f"probability of {name}" for name in classes)])
        for named, images in batches(given, network.image_shape, unreadable):
            for (_, name), shares in zip(named, network(images).softmax(dim=1).tolist(), strict=True):
                likely = int(np.argmax(shares))
                writer.writerow(
                    [shown(name), classes[likely], *(f"{share:.6f}" for share in (shares[likely], *shares))]
                )
            rows += len(named)
    temporary.rename(out)
    return rows


@torch.inference_mode()
def restore(
    network: models.Trained, shape: tuple[int, int, int], given: Sequence[Given], out: Path, unreadable: list[str]
) -> int:
    """Write each restored image as a PNG file of its name into the folder `out`; return how many there are.

    The images are resized to `shape` (C, H, W) before. Raises `PlanError`, before any is written, where two would have
    one name: 1.jpg and 1.png.
    """
    named_so: dict[Path, Given] = {}
    for file in given:
        if (other := named_so.setdefault(Path(file.name).with_suffix(".png"), file)) != file:
            raise PlanError(f"{other.name} and {file.name} would be restored to one file. Rename one of them.")
    written = 0
    for named, images in batches(given, shape, unreadable):
        answers = (network(images) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        for (_, name), pixels in zip(named, answers, strict=True):
            path = (out / name).with_suffix(".png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(path)
        written += len(named)
    return written


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = Parser(
        prog="python -m study.predict",
        description="Have the winner of a study classify, or restore, images.",
        epilog="Example: python -m study.predict runs/resnet-photos holiday/ --out holiday.csv",
    )
    run_dir = "folder of a study that has finished; the Python file that it names for a space of its own is run"
    made.add_argument("run_dir", type=Path, metavar="RUN_DIR", help=run_dir)
    made.add_argument("images", type=Path, nargs="*", metavar="IMAGE_OR_FOLDER", help="what to predict")
    chosen = "final run to take (default: the one with the highest validation score)"
    made.add_argument("--final", metavar="NAME", help=chosen)
    where = "file of the predictions, or folder of restored images (default: predictions.csv, or restored)"
    made.add_argument("--out", type=Path, metavar="PATH", help=where)
    size = "of images to restore: height and width, such as 480x640 (default: that of the training)"
    made.add_argument("--image-size", type=size_of, metavar="SIZE", help=size)
    export = (
        "write the network, its preprocessing included, for PyTorch without this package (.pt2) or ONNX (.onnx): it "
        "takes any number of images, of the size of the training, or of any size to restore"
    )
    made.add_argument("--export", type=Path, metavar="FILE", help=export)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 some image could not be read, 2 bad input."""
    asked = parser().parse_intermixed_args(arguments)
    try:
        return _predict(asked)
    except ValueError as error:  # PlanError, and what loading says
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"Not all is written: {error}. Make room or mend it, then try again.", file=sys.stderr)
        return 1


def _predict(asked: argparse.Namespace) -> int:
    if not asked.images and asked.export is None:
        raise PlanError("There is nothing to do. Give images, or folders of images, or --export FILE.")
    given, skipped = files(asked.images) if asked.images else ([], [])
    tables = analysis.read(asked.run_dir)
    final = winner(tables, asked.final)
    network = load(tables, final)
    out = asked.out or Path("restored" if network.restores else "predictions.csv")
    if given and out.exists():
        raise PlanError(f"--out is {out}, which exists. Give another name, or remove it.")
    if asked.image_size is not None and not network.restores:
        raise PlanError(
            "--image-size is for networks that restore images; one that classifies takes those of its size."
        )
    validation, test = (_score(tables, final, split) for split in ("val_score", "test_score"))
    print(f"{final}: retrained to {validation} validation, {test} test")
    if asked.export is not None:
        from study.export import export  # torch's exporters take seconds to import

        print(export(network, asked.export))
    if not given:
        return 0
    if network.restores:
        channels, height, width = network.image_shape
        height, width = asked.image_size or (height, width)
        count = restore(network, (channels, height, width), given, out, skipped)
        print(
            f"restored at {height}x{width} pixels{'' if asked.image_size else ', as in training; --image-size: other'}"
        )
    else:
        count = classify(network, tables.plan["dataset"]["classes"], given, out, skipped)
    print(f"{out}: {count} of {len(given)} images")
    if skipped:
        print(f"Left out: {', '.join(skipped)}", file=sys.stderr)
    return 1 if count < len(given) else 0


def _score(tables: StudyTables, final: str, split: str) -> str:
    from analysis import wording

    [score] = tables.final.loc[tables.final["final"] == final, split]
    return wording.score(score, tables.plan)


if __name__ == "__main__":
    sys.exit(main())
