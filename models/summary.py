"""The layers of a network as a table: type, output shape, parameters, multiply-adds; totals; memory of a training step.

    python -m models.summary NAME|REFERENCE [--input 3x32x32] [--classes 10] [--batch 32] [--set width=16 ...]
    python -m models.summary --list

A network's name stands for its first reference; `--set` changes options of either.
"""

import argparse
import os
import re
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torchinfo
from torch import Tensor, nn
from torchinfo.layer_info import LayerInfo

import models
from models.choices import pick
from models.references import REFERENCES, Reference

FLOAT_BYTES = 4
COLUMNS = 80  # of a terminal, which every line fits
NAME, SHAPE, COUNT = 34, 17, 14  # widths in the table of layers; 80 with the spaces between


def find(name: str) -> Reference:
    """Return the reference `name`, or the first one of the network `name`."""
    if name in models.MODELS:
        return next(reference for reference in REFERENCES.values() if reference.network == name)
    if name not in REFERENCES:
        valid = ", ".join([*sorted(models.MODELS), *REFERENCES])
        raise ValueError(f"Unknown network or reference {name!r}. Valid: {valid}.")
    return REFERENCES[name]


def bytes_kept(reference: Reference, batch: int) -> int:
    """Bytes that the backward pass of `batch` images needs from the forward pass, counted without computing it."""
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    with torch.device("meta"):
        network, images = reference.build().train(), torch.empty(batch, *reference.input_shape)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(images)
    weights = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    return sum(storage.nbytes() for key, storage in kept.items() if key not in weights)


def layers(network: nn.Module, input_shape: tuple[int, int, int]) -> list[dict[str, Any]]:
    """Return a row for each layer of `network`, those that hold others included, in the order of the forward pass.

    `layer` is its type, `name` that of the attribute it stands in, `depth` how many others hold it, `output` its shape
    for one image. `parameters` and `multiply_adds` are None where the layer has none, or holds others that do.
    """
    found = torchinfo.summary(network, (1, *input_shape), verbose=0)
    return [_layer(info) for info in found.summary_list]


def _layer(info: LayerInfo) -> dict[str, Any]:
    counts = (info.num_params, info.macs) if info.is_leaf_layer else (0, 0)
    return {
        "layer": info.class_name,
        "name": info.var_name if info.depth else "",
        "depth": info.depth,
        "output": info.output_size[1:],
        **dict(zip(("parameters", "multiply_adds"), (count or None for count in counts), strict=True)),
    }


def table(reference: Reference, batch: int) -> str:
    """Return the table of layers and the totals for one image, and what a training step of `batch` images holds."""
    network = reference.build()
    parameters = models.count_parameters(network)
    maps, weights = bytes_kept(reference, batch), 3 * FLOAT_BYTES * parameters
    totals = (
        f"Parameters: {parameters:,}",
        f"Multiply-adds for one image: {models.multiply_adds(network, reference.input_shape):,}",
        f"Memory of a training step of {batch} images: {_mb(maps + weights)}",
        f"    {_mb(maps)} kept for the backward pass,",
        f"    {_mb(weights)} weights, gradients and one moment each",
    )
    heading = f"{'layer':<{NAME}} {'output':<{SHAPE}}{'parameters':>{COUNT}}{'multiply-adds':>{COUNT}}"
    rule = "-" * COLUMNS
    rows = map(_line, layers(network, reference.input_shape))
    return "\n".join([heading, rule, *rows, rule, *totals])


def _line(row: dict[str, Any]) -> str:
    """One line: the layer, indented by its depth, its output for one image, and counts unless it holds others."""
    name = f"{'  ' * row['depth']}{row['layer']} {row['name']}".rstrip()
    shape = "x".join(map(str, row["output"]))
    shown = ("-" if row[count] is None else f"{row[count]:,}" for count in ("parameters", "multiply_adds"))
    return f"{name[:NAME]:<{NAME}} {shape:<{SHAPE}}" + "".join(f"{count:>{COUNT}}" for count in shown)


def _mb(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def listing() -> str:
    """Return one line for each reference: network, input, classes, parameters, multiply-adds; then the networks."""
    lines = [f"{'reference':<20}{'network':<16}{'input':<10}{'classes':>7}{'parameters':>12}{'multiply-adds':>14}"]
    for name, reference in REFERENCES.items():
        with torch.device("meta"):
            network = reference.build()
        shape = "x".join(map(str, reference.input_shape))
        classes = reference.classes or "-"
        by_loops = reference.options.get("form") == "loop"  # of which nothing is counted
        multiply_adds = "-" if by_loops else f"{models.multiply_adds(network, reference.input_shape):,}"
        counts = f"{models.count_parameters(network):>12,}{multiply_adds:>14}"
        lines.append(f"{name:<20}{reference.network:<16}{shape:<10}{classes:>7}{counts}")
    networks = textwrap.wrap(f"Networks: {', '.join(sorted(models.MODELS))}", COLUMNS)
    return "\n".join([*lines, "", *networks])


def changed(reference: Reference, settings: Sequence[str]) -> Reference:
    """Return `reference` with options such as "width=16" in place of its own, in the type of each."""
    options: dict[str, Any] = dict(reference.options)
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in options:
            raise ValueError(f"{reference.network} has no option {name!r}. Valid: {', '.join(options)}.")
        options[name] = _as(type(options[name]), name, text)
    return replace(reference, options=options)


def _as(kind: type, option: str, text: str) -> Any:
    """Return the value of an option from its text."""
    if kind is bool:
        return pick(option, text, {"False": False, "True": True})
    try:
        return kind(text)
    except ValueError as error:
        wanted = "a whole number" if kind is int else "a number"
        raise ValueError(f"{option} is {text!r}, but must be {wanted}.") from error


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def _shape(text: str) -> tuple[int, int, int]:
    if re.fullmatch(r"[1-9][0-9]*(x[1-9][0-9]*){2}", text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no shape; give channels, height and width, such as 3x32x32")
    channels, height, width = map(int, text.split("x"))
    return channels, height, width


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog="python -m models.summary", description="The layers of a network as a table.")
    made.add_argument("name", nargs="?", metavar="NAME", help="a network or a reference; --list shows them")
    made.add_argument("--input", type=_shape, metavar="CxHxW", help="shape of an image (default: the reference's)")
    made.add_argument("--classes", type=_count, help="number of classes (default: the reference's)")
    made.add_argument("--batch", type=_count, default=32, help="images in a training step (default 32)")
    made.add_argument("--set", nargs="+", default=[], metavar="OPTION=VALUE", help="options of the network")
    made.add_argument("--list", action="store_true", help="networks and references with their totals")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, or the list."""
    command = parser()
    asked = command.parse_args(arguments)
    if asked.name is None and not asked.list:
        command.error("give a network or a reference, or --list")
    try:
        print(listing() if asked.list else _asked_table(asked), flush=True)
    except ValueError as error:
        command.error(str(error))
    except BrokenPipeError:  # whoever reads, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _asked_table(asked: argparse.Namespace) -> str:
    reference = changed(find(asked.name), asked.set)
    shape, classes = asked.input or reference.input_shape, asked.classes or reference.classes
    return table(replace(reference, input_shape=shape, classes=classes), asked.batch)


if __name__ == "__main__":
    main()
