"""The table of layers: its numbers against those worked by hand, and what the command line answers."""

import pytest

import models
from models import summary


def test_the_multiply_adds_are_those_worked_by_hand() -> None:
    lenet = models.reference("D-lenet")
    convolutions = 6 * 28 * 28 * 25 + 16 * 10 * 10 * 6 * 25
    assert summary.multiply_adds(lenet.build(), lenet.input_shape) == convolutions + 400 * 120 + 120 * 84 + 84 * 10


def test_layers_by_hand_are_counted_too() -> None:
    reference = models.reference("B-handwritten")
    assert summary.multiply_adds(reference.build(), reference.input_shape) == 30 * 30 * 32 * 27 + 32 * 10


def test_the_bytes_kept_are_those_worked_by_hand_and_grow_with_the_batch() -> None:
    reference = models.reference("B-mlp")
    images, hidden = 3 * 32 * 32, 512
    assert summary.bytes_kept(reference, 8) == 4 * 8 * (images + 2 * hidden)  # what enters each linear layer


def test_the_table_lists_layers_and_totals(capsys: pytest.CaptureFixture[str]) -> None:
    summary.main(["D-lenet", "--batch", "4"])
    out = capsys.readouterr().out
    assert "[1, 16, 10, 10]" in out
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lenett"], "Unknown network or reference 'lenett'. Valid: alexnet"),
        (["lenet", "--set", "depth=3"], "lenet has no option 'depth'. Valid: width"),
        (["lenet", "--input", "1x4x4"], "lenet takes images of at least 6x6"),
        ([], "give a network or a reference"),
        (["lenet", "--input", "32"], "argument --input"),
    ],
)
def test_bad_input_is_answered(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        summary.main(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", models.MODELS)
def test_every_network_has_a_reference(name: str) -> None:
    assert summary.find(name).network == name
