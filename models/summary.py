"""The layers of a network as a table: type, output shape, parameters, multiply-adds; totals; memory of a training step.

    python -m models.summary NAME|REFERENCE [--input 3x32x32] [--classes 10] [--batch 32] [--set width=16 ...]
    python -m models.summary --list

A network's name stands for its first reference; `--set` changes options of either.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torchinfo
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import models
from models.references import REFERENCES, Reference

COLUMNS = ("output_size", "num_params", "mult_adds")
FLOAT_BYTES = 4


def find(name: str) -> Reference:
    """Return the reference `name`, or the first one of the network `name`."""
    if name in models.MODELS:
        return next(reference for reference in REFERENCES.values() if reference.network == name)
    if name not in REFERENCES:
        valid = ", ".join([*sorted(models.MODELS), *REFERENCES])
        raise ValueError(f"Unknown network or reference {name!r}. Valid: {valid}.")
    return REFERENCES[name]


def multiply_adds(network: nn.Module, input_shape: tuple[int, int, int]) -> int:
    """Multiply-adds of convolutions and matrix products for one image, as they run, whoever wrote the layer."""
    example = torch.zeros(1, *input_shape, device=next(network.parameters()).device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(example)
    operations: int = counter.get_total_flops()
    return operations // 2  # a multiply-add is two


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


def table(reference: Reference, batch: int) -> str:
    """Return the table of layers and the totals for one image, and what a training step of `batch` images holds."""
    network = reference.build()
    found = torchinfo.summary(
        network, (1, *reference.input_shape), col_names=COLUMNS, row_settings=("var_names",), depth=5, verbose=0
    )
    lines = str(found).splitlines()
    end = next(index for index, line in enumerate(lines) if line.startswith("Total params"))
    parameters = models.count_parameters(network)
    maps, weights = bytes_kept(reference, batch), 3 * FLOAT_BYTES * parameters
    totals = (
        f"Parameters: {parameters:,}",
        f"Multiply-adds for one image: {multiply_adds(network, reference.input_shape):,}",
        f"Memory of a training step of {batch} images: {_mb(maps + weights)}",
        f"    {_mb(maps)} kept for the backward pass, {_mb(weights)} weights, gradients and one moment each",
    )
    return "\n".join([*lines[:end], *totals])


def _mb(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def listing() -> str:
    """Return one line for each reference: network, input, classes, parameters, multiply-adds; then the networks."""
    lines = [f"{'reference':<16}{'network':<17}{'input':<12}{'classes':>7}{'parameters':>14}{'multiply-adds':>16}"]
    for name, reference in REFERENCES.items():
        with torch.device("meta"):
            network = reference.build()
        shape = "x".join(map(str, reference.input_shape))
        counts = f"{models.count_parameters(network):>14,}{multiply_adds(network, reference.input_shape):>16,}"
        lines.append(f"{name:<16}{reference.network:<17}{shape:<12}{reference.classes:>7}{counts}")
    return "\n".join([*lines, "", f"Networks: {', '.join(sorted(models.MODELS))}"])


def changed(reference: Reference, settings: Sequence[str]) -> Reference:
    """Return `reference` with options such as "width=16" in place of its own, in the type of each."""
    options: dict[str, Any] = dict(reference.options)
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in options:
            raise ValueError(f"{reference.network} has no option {name!r}. Valid: {', '.join(options)}.")
        kind = type(options[name])
        options[name] = text == "True" if kind is bool else kind(text)
    return replace(reference, options=options)


def _shape(text: str) -> tuple[int, int, int]:
    channels, height, width = (int(part) for part in text.split("x"))
    return channels, height, width


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog="python -m models.summary", description="The layers of a network as a table.")
    made.add_argument("name", nargs="?", metavar="NAME", help="a network or a reference; --list shows them")
    made.add_argument("--input", type=_shape, metavar="CxHxW", help="shape of an image (default: the reference's)")
    made.add_argument("--classes", type=int, help="number of classes (default: the reference's)")
    made.add_argument("--batch", type=int, default=32, help="images in a training step (default 32)")
    made.add_argument("--set", nargs="+", default=[], metavar="OPTION=VALUE", help="options of the network")
    made.add_argument("--list", action="store_true", help="networks and references with their totals")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, or the list."""
    command = parser()
    asked = command.parse_args(arguments)
    if asked.list:
        print(listing())
        return
    if asked.name is None:
        command.error("give a network or a reference, or --list")
    try:
        reference = changed(find(asked.name), asked.set)
        reference = replace(
            reference, input_shape=asked.input or reference.input_shape, classes=asked.classes or reference.classes
        )
        print(table(reference, asked.batch))
    except ValueError as error:
        command.error(str(error))


if __name__ == "__main__":
    main()
