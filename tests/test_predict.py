"""Using a winner: loaded with its preprocessing, asked about image files, and exported."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import analysis
import models
from data_utils.datasets import load
from data_utils.decoding import decode
from data_utils.splits import SearchData
from study import predict
from study.export import WRITERS, export
from study.plan import PlanError
from study.spaces import SPACES
from study.tasks import classification
from study.trial import TrialData, train
from tests.conftest import CPU, architecture, narrow
from tests.sample_run import SampleRun
from tests.test_restoration import job as restoring_job
from tests.test_trial import job


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, trial_data: TrialData) -> Path:
    """A run folder whose best final run has a real network."""
    folder = SampleRun(spaces=("resnet",), trials=6).write(tmp_path_factory.mktemp("predict") / "run")
    best = predict.winner(analysis.read(folder), None)
    asked = replace(job(folder / "final" / best, max_epochs=6, schedule="one_cycle"), kind="final")
    assert [event["event"] for event in train(asked, trial_data, CPU)][-1] == "epoch"
    return folder


@pytest.fixture
def photos(tmp_path: Path, digits: SearchData) -> Path:
    """Twenty validation digits as image files of several kinds, and a file that is none."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number, at in enumerate(digits.validation_index[:20]):
        image = Image.fromarray(digits.images.images[at][..., 0])
        image = image.convert("RGB") if number % 3 == 0 else image
        image.save(folder / ("more" if number % 2 else "") / f"{number}.png")
    (folder / "torn.png").write_bytes(b"torn")
    return folder


def rows(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def test_a_loaded_network_answers_as_in_training(run: Path, trial_data: TrialData, digits: SearchData) -> None:
    final = predict.winner(analysis.read(run), None)
    network = models.load(run / "final" / final)
    assert (network.image_shape, network.restores, network.training) == ((1, 8, 8), False, False)
    part = digits.images.images[digits.validation_index[:64]]
    images = torch.from_numpy(part).permute(0, 3, 1, 2)
    with torch.inference_mode():
        answers = network(images)
    inner = models.load_network(run / "final" / final, "resnet")
    expected = classification.predict(inner, trial_data.validation, torch.float32)
    assert torch.allclose(answers, expected, atol=1e-4)


def test_predictions_are_written_for_each_image_and_others_named(
    run: Path, photos: Path, tmp_path: Path, digits: SearchData, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "said.csv"
    assert predict.main([str(run), str(photos), "--out", str(out)]) == 1
    found, said = rows(out), capsys.readouterr()
    labels = digits.validation.labels[:20]
    names = [f"more/{number}.png" if number % 2 else f"{number}.png" for number in range(20)]
    assert set(found) == set(names)
    right = [found[name]["prediction"] == str(label) for name, label in zip(names, labels, strict=True)]
    assert sum(right) >= 14  # six epochs with 256 images; chance is 2
    row = found[names[0]]
    shares = [float(row[f"probability of {digit}"]) for digit in range(10)]
    assert sum(shares) == pytest.approx(1, abs=1e-4)
    assert float(row["probability"]) == max(shares)
    assert row["prediction"] == str(int(np.argmax(shares)))
    assert "20 of 21 images" in said.out
    assert "Left out: torn.png (cannot identify" in said.err
    assert predict.main([str(run), str(photos), "--out", str(out)]) == 2
    assert "which exists" in capsys.readouterr().err


def test_the_folder_of_the_predictions_is_made(run: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder" / "said.csv"
    assert predict.main([str(run), str(photos / "0.png"), "--out", str(out)]) == 0
    assert list(rows(out)) == ["0.png"]
    assert [path.name for path in out.parent.iterdir()] == ["said.csv"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "There is nothing to do"),
        (["nowhere"], "nowhere does not exist"),
        (["--final", "resnet-0000-seed9", __file__], "Unknown final run 'resnet-0000-seed9'.*Valid: resnet-"),
        (["--export", "network.zip"], "ending must be one of .pt2, .onnx"),
        (["--image-size", "16", __file__], "--image-size is for networks that restore"),
    ],
    ids=["nothing", "nowhere", "final", "ending", "size"],
)
def test_bad_input_is_refused(run: Path, given: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict.main([str(run), *given]) == 2
    found = capsys.readouterr().err
    assert re.search(message, found, re.DOTALL), found


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("L", (8, 8)).save(tmp_path / name / "1.png")
    with pytest.raises(PlanError, match=r"would have one name in the answers. Give the folder that holds both"):
        predict.files([tmp_path / "a", tmp_path / "b"])
    assert len(predict.files([tmp_path])[0]) == 2


def test_code_of_its_own_is_not_run_unasked_nor_an_old_network_guessed(run: Path, tmp_path: Path) -> None:
    final = run / "final" / predict.winner(analysis.read(run), None)
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes((final / "model.safetensors").read_bytes())
    content = json.loads((final / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**content, "name": str(tmp_path / "evil.py:network")}))
    (tmp_path / "evil.py").write_text("raise SystemExit('run')")
    with pytest.raises(ValueError, match=r"code of its own. If you trust it"):
        models.load(folder)
    assert models.load(folder, network="resnet").image_shape == (1, 8, 8)
    del content["preprocessing"]
    (folder / "model.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="from an earlier version"):
        models.load(folder)
    with pytest.raises(ValueError, match="holds no trained network"):
        models.load(tmp_path)


def test_restored_images_are_written_by_their_names(tmp_path: Path) -> None:
    network = restorer()
    pairs = load("hazy", Path("unused"))
    (tmp_path / "in").mkdir()
    for number in range(3):
        Image.fromarray(pairs.test.images[number]).save(tmp_path / "in" / f"{number}.jpg")
    given, _ = predict.files([tmp_path / "in"])
    unreadable: list[str] = []
    assert predict.restore(network, network.image_shape, given, tmp_path / "out", unreadable) == 3
    assert not unreadable
    with Image.open(tmp_path / "out" / "0.png") as file:
        made = np.asarray(file)
    image = torch.from_numpy(decode(tmp_path / "in" / "0.jpg").copy()).permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = (network(image)[0] * 255).round().permute(1, 2, 0).to(torch.uint8).numpy()
    assert made.shape == pairs.test.images[0].shape
    assert np.array_equal(made, expected)


def test_images_are_restored_in_another_size_on_request_and_each_to_a_file_of_its_own(tmp_path: Path) -> None:
    network, folder = restorer(), tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (40, 20)).save(folder / "wide.jpg")
    given, _ = predict.files([folder])
    assert predict.restore(network, (3, 20, 40), given, tmp_path / "out", []) == 1
    with Image.open(tmp_path / "out" / "wide.png") as file:
        assert file.size == (40, 20)
    Image.new("RGB", (40, 20)).save(folder / "wide.png")
    given, _ = predict.files([folder])
    with pytest.raises(PlanError, match=r"wide.jpg and wide.png would be restored to one file"):
        predict.restore(network, (3, 20, 40), given, tmp_path / "again", [])
    assert not (tmp_path / "again").exists()
    with pytest.raises(ValueError, match=r"must have \(B, C, H, W\): one is images\[None\]"):
        network(torch.zeros(3, 20, 40))


def test_images_of_another_shape_are_refused_where_the_network_would_answer_to_them() -> None:
    restoring = restorer()
    with pytest.raises(ValueError, match=r"shape \(2, 1, 32, 32\), but must have \(B, 3, H, W\).*convert\('RGB'\)"):
        restoring(torch.zeros(2, 1, 32, 32))
    with torch.inference_mode():
        assert restoring(torch.zeros(2, 3, 20, 40)).shape == (2, 3, 20, 40)
    grey = models.Trained(torch.nn.AdaptiveAvgPool2d(1), (1, 8, 6), [0.5], [0.25], restores=False)
    with pytest.raises(ValueError, match=r"must have \(B, 1, H, W\).*convert\('L'\)"):
        grey(torch.zeros(2, 3, 8, 6))
    with pytest.raises(ValueError, match=r"shape \(2, 1, 6, 8\), but must have \(B, 1, 8, 6\).*resize\(\(6, 8\)\)"):
        grey(torch.zeros(2, 1, 6, 8))
    with torch.inference_mode():
        assert grey(torch.full((2, 1, 8, 6), 255)).flatten().tolist() == [2, 2]  # (255 / 255 - 0.5) / 0.25


@pytest.mark.parametrize(
    ("more", "height", "width", "said"),
    [
        ([], 8, 8, "restored at 8x8 pixels, as in training; --image-size: other\n"),
        (["--image-size", "20x40"], 20, 40, "restored at 20x40 pixels\n"),
    ],
    ids=["trained", "asked"],
)
def test_the_winner_of_a_restoration_study_writes_a_picture_for_each(
    more: list[str],
    height: int,
    width: int,
    said: str,
    tmp_path: Path,
    pair_data: TrialData,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, photos, out = SampleRun(spaces=("dehaze",), trials=3, restored=True), tmp_path / "in", tmp_path / "out"
    folder = run.write(tmp_path / "run")
    best = predict.winner(analysis.read(folder), None)
    list(train(restoring_job(folder / "final" / best, kind="final"), pair_data, CPU))
    photos.mkdir()
    Image.new("RGB", (40, 20), (90, 120, 150)).save(photos / "wide.png")
    assert predict.main([str(folder), str(photos), "--out", str(out), *more]) == 0
    printed = capsys.readouterr().out
    assert re.search(rf"^{best}: retrained to [\d.]+\sdB validation, [\d.]+\sdB test$", printed, re.MULTILINE)
    assert said in printed
    assert f"{out}: 1 of 1 images" in printed
    image = torch.tensor((90, 120, 150), dtype=torch.uint8)[None, :, None, None].expand(1, 3, height, width)
    with Image.open(out / "wide.png") as file, torch.inference_mode():
        expected = (models.load(folder / "final" / best)(image)[0] * 255).round().permute(1, 2, 0)
        assert np.array_equal(np.asarray(file), expected.numpy())


def restorer() -> models.Trained:
    """A network as yet untrained, for images as those of hazy."""
    torch.manual_seed(0)
    height, width, channels = load("hazy", Path("unused")).test.images.shape[1:]
    space = SPACES["dehaze"]
    config = architecture(space, narrow(space, dict(space.reference)))
    network = models.build("dehaze", in_channels=channels, image_size=(height, width), **config)
    return models.Trained(network, (channels, height, width), [0.5] * 3, [0.25] * 3, restores=True)


def made(name: str, size: int = 32) -> models.Trained:
    """The reference setting of the space `name`, small and untrained, with statistics of batches in its norms."""
    torch.manual_seed(0)
    space, shape = SPACES[name], (3, max(size, SPACES[name].smallest_image), max(size, SPACES[name].smallest_image))
    answers: dict[str, Any] = {} if name in models.RESTORERS else {"num_classes": 10}
    config = architecture(space, narrow(space, dict(space.reference)))
    network = models.build(space.network, in_channels=3, image_size=shape[1:], **answers, **config)
    network.train()(torch.randn(8, *shape))
    return models.Trained(network, shape, [0.5] * 3, [0.25] * 3, restores=not answers)


@pytest.mark.slow
@pytest.mark.parametrize("name", SPACES)
def test_every_network_can_be_exported_and_answers_alike(name: str, tmp_path: Path) -> None:
    said = export(made(name), tmp_path / "network.pt2")
    assert "answers as the network does" in said
    loaded = torch.export.load(tmp_path / "network.pt2").module()
    network = made(name)
    images = torch.randint(256, (5, *network.image_shape), dtype=torch.uint8)  # another number of them
    with torch.inference_mode():
        assert torch.allclose(loaded(images), network(images), atol=1e-4)


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_an_exported_restorer_takes_images_of_any_size(ending: str, tmp_path: Path) -> None:
    network, path = restorer(), tmp_path / f"network{ending}"
    export(network, path)
    for shape in ((1, 3, 20, 41), (3, 3, 64, 16)):
        images = torch.randint(256, shape, dtype=torch.uint8)
        with torch.inference_mode():
            expected = network(images).numpy()
        assert np.allclose(answers_of(path, images), expected, atol=1e-3)


def answers_of(path: Path, images: torch.Tensor) -> Any:
    """What the network in an exported file answers."""
    if path.suffix == ".pt2":
        return torch.export.load(path).module()(images).detach().numpy()
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"images": images.numpy()})[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain_cnn", "resnet", "dehaze"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_onnx_answers_alike(name: str, tmp_path: Path) -> None:
    import onnxruntime

    network = made(name)
    export(network, tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    images = torch.randint(256, (5, *network.image_shape), dtype=torch.uint8)
    with torch.inference_mode():
        expected = network(images).numpy()
    assert np.allclose(session.run(None, {"images": images.numpy()})[0], expected, atol=1e-3)
    assert [path.name for path in tmp_path.iterdir()] == ["network.onnx"]


def test_an_export_that_answers_otherwise_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def off(network: models.Trained, images: torch.Tensor, path: Path) -> Any:
        path.write_bytes(b"wrong")
        return network(images).detach().numpy() * 1.01

    monkeypatch.setitem(WRITERS, ".pt2", off)
    with pytest.raises(PlanError, match=r"What was exported answers otherwise: by 1\.0e-02"):
        export(made("lenet"), tmp_path / "network.pt2")
    assert not list(tmp_path.iterdir())
