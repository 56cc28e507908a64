"""The table of layers: its numbers against those worked by hand, and what the command line answers."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

import models
from models import summary


def test_the_multiply_adds_are_those_worked_by_hand() -> None:
    lenet = models.reference("D-lenet")
    convolutions = 6 * 28 * 28 * 25 + 16 * 10 * 10 * 6 * 25
    assert models.multiply_adds(lenet.build(), lenet.input_shape) == convolutions + 400 * 120 + 120 * 84 + 84 * 10


def test_counting_leaves_the_network_and_the_random_state_as_they_were() -> None:
    reference = models.reference("D-lenet-bn")
    network = reference.build().train()
    state, before = torch.get_rng_state(), {name: value.clone() for name, value in network.state_dict().items()}
    models.multiply_adds(network, reference.input_shape)
    assert network.training
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_layers_have_their_shape_and_counts() -> None:
    reference = models.reference("D-lenet")
    rows = {f"{row['layer']} {row['name']}": row for row in summary.layers(reference.build(), reference.input_shape)}
    second = rows["Conv2d 4"]
    assert second["output"] == [16, 10, 10]
    assert (second["parameters"], second["multiply_adds"]) == (2_416, 241_600)
    assert rows[next(iter(rows))]["parameters"] is None


def test_layers_by_hand_are_counted_too() -> None:
    reference = models.reference("B-handwritten")
    assert models.multiply_adds(reference.build(), reference.input_shape) == 30 * 30 * 32 * 27 + 32 * 10


def test_the_bytes_kept_are_those_worked_by_hand_and_grow_with_the_batch() -> None:
    reference = models.reference("B-mlp")
    images, hidden = 3 * 32 * 32, 512
    assert summary.bytes_kept(reference, 8) == 4 * 8 * (images + 2 * hidden)  # what enters each linear layer


def test_the_table_lists_layers_and_totals(capsys: pytest.CaptureFixture[str]) -> None:
    summary.main(["D-lenet", "--batch", "4"])
    out = capsys.readouterr().out
    assert re.search(r"\n  Conv2d 4 +16x10x10 +2,416 +241,600\n", out)
    assert "Parameters: 61,706" in out
    assert "Multiply-adds for one image: 416,520" in out
    assert "training step of 4 images" in out
    assert f"{3 * 4 * 61_706 / 1e6:.1f} MB weights, gradients and one moment each" in out


def test_a_networks_options_input_and_classes_can_be_changed(capsys: pytest.CaptureFixture[str]) -> None:
    summary.main(["resnet", "--input", "1x8x8", "--classes", "3", "--set", "width=8", "blocks=1"])
    options = {"width": 8, "blocks": 1, "stages": 4, "stem": "3x3", "shortcut": "norm"}
    options |= {"norm": "batch", "activation": "relu"}
    network = models.build("resnet", in_channels=1, num_classes=3, image_size=(8, 8), **options)
    assert f"Parameters: {models.count_parameters(network):,}" in capsys.readouterr().out
    changed = summary.changed(models.reference("A-densenet"), ["bottleneck=False", "compression=0.7"]).options
    assert (changed["bottleneck"], changed["compression"]) == (False, 0.7)


def test_the_list_has_every_reference_and_network(capsys: pytest.CaptureFixture[str]) -> None:
    summary.main(["--list"])
    out = capsys.readouterr().out
    assert all(name in out for name in [*models.REFERENCES, *models.MODELS])
    assert "128,806,154" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lenett"], "Unknown network or reference 'lenett'. Valid: alexnet"),
        (["lenet", "--set", "depth=3"], "lenet has no option 'depth'. Valid: width"),
        (["lenet", "--input", "1x4x4"], "lenet takes images of at least 6x6"),
        ([], "give a network or a reference"),
        (["lenet", "--input", "32"], "argument --input: '32' is no shape; give channels, height and width"),
        (["lenet", "--input=-1x32x32"], "argument --input: '-1x32x32' is no shape"),
        (["lenet", "--classes", "-3"], "argument --classes: '-3' is no whole number of at least 1"),
        (["lenet", "--classes", "0"], "argument --classes: '0' is no whole number"),
        (["lenet", "--batch=-1"], "argument --batch: '-1' is no whole number"),
        (["lenet", "--set", "width="], "width is '', but must be a whole number"),
        (["lenet", "--set", "width=0"], "width is 0, but must be a whole number of at least 1"),
        (["A-densenet", "--set", "bottleneck=yes"], "bottleneck is 'yes'. Valid: False, True"),
        (["A-densenet", "--set", "compression=half"], "compression is 'half', but must be a number"),
    ],
)
def test_bad_input_is_answered(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        summary.main(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["B-conv", "C-resnet18", "C-se-resnet18", "C-densenet", "D-lenet-bn", "D-googlenet"])
def test_a_table_fits_80_columns(name: str) -> None:
    assert max(map(len, summary.table(models.reference(name), 32).splitlines())) == 80


@pytest.mark.slow
def test_a_reader_that_has_enough_is_no_error() -> None:
    command = f"{sys.executable} -m models.summary D-lenet | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("0\n")
    assert done.stderr == ""


# A value that each option of a network must refuse, whatever the network.
REFUSED = {
    **dict.fromkeys(("activation", "border", "norm", "pool", "shortcut", "stem"), "foo"),
    **dict.fromkeys(("width", "growth", "layers", "hidden", "squeeze", "blocks", "depth"), 0),
    **dict.fromkeys(("body", "form", "skip"), "foo"),
    **{"kernel": 4, "stages": 7, "dilations": "1-x", "bottleneck": "yes", "compression": 0.0, "dropout": 1.5},
}


@pytest.mark.parametrize("name", models.MODELS)
def test_every_option_of_a_network_refuses_what_it_does_not_know_by_its_name(name: str) -> None:
    reference = summary.find(name)
    assert reference.options
    for option in reference.options:
        value = "6-0" if (name, option) == ("densenet", "blocks") else REFUSED[option]
        with torch.device("meta"), pytest.raises(ValueError, match=f"{option}.*{value}"):
            replace(reference, options={**reference.options, option: value}).build()
    with pytest.raises(ValueError, match="num_classes is 0"):
        replace(reference, classes=0).build()


@pytest.mark.parametrize("name", models.MODELS)
def test_every_network_has_a_reference(name: str) -> None:
    assert summary.find(name).network == name
