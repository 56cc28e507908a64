"""Images to images: scores against scikit-image's, the hazy set, pairs that stay together, a trial, a whole study."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import nn

import analysis
from analysis import restorations
from analysis.report import write_report
from data_utils import hazy as making
from data_utils.augmentation import Augmentation
from data_utils.batches import PairedBatches
from data_utils.datasets import load
from data_utils.images import Pairs
from data_utils.placement import Streamed
from data_utils.splits import SearchData, Subset, split
from study import own_network, test_split
from study import plan as planning
from study.job import Job, OpenTest
from study.launch import run
from study.metric import metric, untouched
from study.plan import Plan, PlanError
from study.spaces import SPACES
from study.tasks.restoration import evaluate, psnr, ssim
from study.trial import TrialData, train
from tests.conftest import CPU, pair_batches

DEHAZE = SPACES["dehaze"]
BASIC = Augmentation("basic", 1.0, True, "none", 1.0, 0)


def drawn(count: int, seed: int, side: int = 16) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def tensor(images: np.ndarray[Any, np.dtype[np.uint8]]) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2) / 255


def job(folder: Path, *, max_epochs: int = 2, kind: str = "trial", **config: Any) -> Job:
    folder.mkdir(parents=True, exist_ok=True)
    chosen = {**DEHAZE.reference, "width": 8, "depth": 2, **config}
    architecture = tuple(parameter.name for parameter in DEHAZE.architecture)
    return Job(kind, folder.name, "dehaze", architecture, chosen, 1, max_epochs, (), folder, 0, fp32=True)


# Scores


def test_psnr_is_that_of_scikit_image_for_each_image_and_finite_for_equal_ones() -> None:
    images, targets = drawn(5, 0), drawn(5, 1)
    targets[4] = images[4]
    found = psnr(tensor(images), tensor(targets))
    expected = [peak_signal_noise_ratio(target, image) for image, target in zip(images[:4], targets[:4], strict=True)]
    assert found.tolist() == pytest.approx([*expected, 100.0], rel=1e-5)
    assert psnr(torch.full((1, 1, 2, 2), 1.7), torch.ones(1, 1, 2, 2)).item() == pytest.approx(100)


def test_ssim_of_flat_images_is_that_of_wangs_formula_and_small_images_have_none() -> None:
    flat = [np.full((1, 16, 16, 3), value, np.uint8) for value in (100, 150)]
    constant = (0.01 * 255) ** 2
    by_hand = (2 * 100 * 150 + constant) / (100**2 + 150**2 + constant)
    assert ssim(*flat) == pytest.approx([by_hand])
    assert ssim(drawn(1, 0), drawn(1, 0)) == pytest.approx([1.0])
    assert np.isnan(ssim(drawn(2, 0, side=10), drawn(2, 1, side=10))).all()


def test_a_network_that_changes_nothing_has_the_score_of_doing_nothing() -> None:
    pairs = Pairs(drawn(9, 0), drawn(9, 1))
    loss, score = evaluate(nn.Identity(), pair_batches(pairs), torch.float32)
    each = [peak_signal_noise_ratio(target, image) for image, target in zip(pairs.images, pairs.targets, strict=True)]
    assert score == pytest.approx(np.mean(each), rel=1e-5)
    assert untouched(Subset(pairs, np.arange(9))) == pytest.approx(np.mean(each), rel=1e-9)
    assert loss == pytest.approx(np.mean((pairs.images / 255 - pairs.targets / 255) ** 2), rel=1e-5)


# Data


def test_haze_is_what_the_scattering_model_says() -> None:
    clear = drawn(4, 2)
    found = making.with_haze(clear, np.random.default_rng(7))
    random = np.random.default_rng(7)
    beta = random.uniform(*making.BETA, (4, 1, 1))
    through = np.exp(-beta * making.depths(4, (16, 16), random))[..., None]
    light = random.uniform(*making.LIGHT, (4, 1, 1, 1)) + random.uniform(-making.TINT, making.TINT, (4, 1, 1, 3))
    expected = clear / 255 * through + light * (1 - through)
    assert np.abs(found / 255 - np.clip(expected, 0, 1)).max() <= 0.5 / 255 + 1e-9
    depths = making.depths(200, (32, 48), np.random.default_rng(0))
    assert (depths.min(), depths.max()) == (0, 1)
    assert depths[:, 0].mean() > 0.65 > 0.35 > depths[:, -1].mean()  # far above, near below
    assert np.abs(np.diff(depths, axis=1)).mean() < 0.05  # smooth: 0.33 if drawn pixel by pixel


def test_the_hazy_set_is_always_the_same_and_its_test_is_the_right_of_each_photograph() -> None:
    dataset, again = (load("hazy", Path("unused")) for _ in range(2))
    assert dataset.train.sha256() == again.train.sha256()
    assert dataset.task == "restoration"
    assert (len(dataset.train), len(dataset.test), dataset.image_shape) == (273, 70, (3, 32, 32))
    assert isinstance(dataset.test, Pairs)
    photograph = making._photographs()[0]
    columns = photograph.shape[1] // making.SIDE
    places = [column for tile in dataset.test.targets for column in range(columns)
              if (photograph[:32, 32 * column : 32 * column + 32] == tile).all()]  # fmt: skip
    assert places == [columns - 2, columns - 1]
    assert len(load("hazy", Path("unused"), test_fraction=0.5).test) > 150
    assert load("hazy", Path("unused"), image_size=(16, 24)).image_shape == (3, 16, 24)


def test_pairs_are_split_without_overlap_and_their_checksum_knows_both_sides() -> None:
    pairs = Pairs(drawn(20, 0), drawn(20, 1))
    data = split(pairs, seed=3)
    assert len(data.validation) == 4
    assert sorted([*data.train_index, *data.validation_index]) == list(range(20))
    assert (split(pairs, seed=4).validation_index != data.validation_index).any()
    assert data.train.sha256() == pairs.take(data.train_index).sha256()
    changed = pairs.targets.copy()
    changed[data.train_index[0], 0, 0, 0] ^= 1
    assert Subset(Pairs(pairs.images, changed), data.train_index).sha256() != data.train.sha256()


def test_an_image_and_its_target_are_cropped_and_mirrored_together() -> None:
    images = drawn(40, 0)
    batches = pair_batches(Pairs(images, images))
    seen = list(batches.shuffled(10, torch.Generator().manual_seed(0), BASIC))
    for normalised, targets in seen:
        assert torch.allclose(batches.restored(normalised), targets, atol=1e-5)
    flat = torch.cat([targets for _, targets in seen]).flatten(1)
    originals = tensor(images).flatten(1)
    assert sum(bool((original == flat).all(dim=1).any()) for original in originals) < 20  # most were changed
    with pytest.raises(ValueError, match="augmentation is 'colour', but of images with a target may be: none, basic"):
        next(batches.shuffled(10, torch.Generator(), replace(BASIC, name="colour")))


def test_streamed_pairs_are_exactly_the_resident_ones() -> None:
    pairs = Pairs(drawn(20, 0), drawn(20, 1))
    whole, statistics = Subset(pairs, np.arange(20)), ([0.5] * 3, [0.25] * 3)
    streamed = PairedBatches(whole, Streamed(pairs.images, CPU), Streamed(pairs.targets, CPU), *statistics, device=CPU)
    for part in ("shuffled", "in_order"):
        both = []
        for batches in (pair_batches(pairs), streamed):
            asked = (8, torch.Generator().manual_seed(1), BASIC) if part == "shuffled" else ()
            both.append([torch.cat(batch, dim=1) for batch in getattr(batches, part)(*asked)])
        assert all(torch.equal(*step) for step in zip(*both, strict=True))
    [found] = streamed.targets(torch.tensor([7, 3]), 2)
    assert np.array_equal(found.permute(0, 2, 3, 1).numpy(), pairs.targets[[7, 3]])


# A trial


def test_it_learns_to_take_haze_away_and_both_losses_count(tmp_path: Path, pair_data: TrialData) -> None:
    nothing, last = evaluate(nn.Identity(), pair_data.validation, torch.float32)[1], {}  # type: ignore[arg-type]
    for loss in ("mse", "l1"):
        events = list(train(job(tmp_path / loss, max_epochs=5, loss=loss), pair_data, CPU))
        assert [event["event"] for event in events] == ["started"] + ["epoch"] * 5
        last[loss] = events[-1]
        assert events[-1]["val_score"] > nothing + 1
    assert last["l1"]["train_loss"] > 1.5 * last["mse"]["train_loss"]  # not squared
    [ended] = train(job(tmp_path / "x", loss="psnr"), pair_data, CPU)
    assert ended["error"] == "ValueError: loss is 'psnr'. Valid: l1, mse."


def test_the_test_split_keeps_the_scores_of_each_image_and_some_to_look_at(tmp_path: Path) -> None:
    pairs = Pairs(drawn(30, 0), drawn(30, 1))
    data = TrialData(pair_batches(pairs), pair_batches(pairs), num_classes=0)
    final = tmp_path / "final" / "t-seed1"
    list(train(job(final, kind="final"), data, CPU))
    [tested] = test_split.examine(
        OpenTest(("t-seed1",), ("dehaze",), tmp_path / "final", fp32=True), data.validation, CPU
    )
    with np.load(final / "predictions.npz") as found, np.load(tmp_path / "final" / "test_images.npz") as kept:
        assert tested["test_score"] == pytest.approx(found["psnr"].mean())
        assert (len(found["psnr"]), len(kept["index"]), len(found["restored"])) == (30, 24, 24)
        assert np.array_equal(kept["target"], pairs.targets[kept["index"]])
        at = int(kept["index"][3])
        window: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        expected = structural_similarity(found["restored"][3], pairs.targets[at], channel_axis=-1, **window)
        assert found["ssim"][at] == pytest.approx(expected)
        near = peak_signal_noise_ratio(pairs.targets[at], found["restored"][3])
        assert found["psnr"][at] == pytest.approx(near, abs=0.01)  # rounded to 8 bits
        untouched_there = peak_signal_noise_ratio(pairs.targets[at], pairs.images[at])
        assert kept["psnr"][at] == pytest.approx(untouched_there, rel=1e-5)


def test_a_network_of_ones_own_must_answer_with_images_of_the_same_shape() -> None:
    assert own_network.problem(DEHAZE, (3, 8, 8), 0) is None
    wrong = replace(SPACES["mlp"], task="restoration")
    said = own_network.problem(wrong, (3, 8, 8), 0)
    assert said is not None
    assert "for images 3x8x8, in the reference setting" in said


# A study


def test_what_a_study_is_scored_by_and_a_change_of_a_target_is_noticed(hazy: SearchData, tmp_path: Path) -> None:
    dataset, spaces = load("hazy", Path("unused")), {"dehaze": DEHAZE}
    assert metric(dataset, hazy)["chance"] == pytest.approx(untouched(hazy.validation))
    content = planning.describe(Plan(("dehaze",), dataset="hazy", runs=tmp_path), spaces, dataset, hazy, {})
    assert (content["metric"]["name"], content["metric"]["unit"], content["dataset"]["task"]) == (
        *("PSNR", "dB"),
        "restoration",
    )
    planning.check_unchanged(content, spaces, dataset, hazy)
    assert isinstance(dataset.test, Pairs)
    other = replace(dataset, test=Pairs(dataset.test.images, dataset.test.targets[::-1]))
    with pytest.raises(PlanError, match="The test split of hazy is not the one"):
        planning.check_unchanged(content, spaces, other, hazy)


@pytest.mark.slow
def test_a_whole_study_of_restoration_has_a_report_in_decibels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written when Ray has ended: who touches one of Ray's objects while Ray ends is killed by it."""
    import ray

    alive = []

    def written(folder: Path) -> Path:
        alive.append(ray.is_initialized())
        return write_report(folder)

    monkeypatch.setattr("analysis.report.write_report", written)
    plan = Plan(("dehaze",), "hazy", image_size=(12, 12), trials=3, max_epochs=2, final_seeds=3, runs=tmp_path)
    outcome = run(plan)
    assert (outcome.reason, alive) == ("finished", [False])
    tables = analysis.read(outcome.folder)
    start, found = restorations.untouched(tables), restorations.images(tables)
    assert tables.final["test_score"].mean() == pytest.approx(found["after"].mean(), rel=1e-5)
    assert len(found) == 70
    text = (outcome.folder / "report" / "report.html").read_text().replace("\N{NO-BREAK SPACE}", " ")
    assert re.search(r"dehaze has a test PSNR of \d+\.\d\d dB \(95 % interval", text)
    assert f"The test images as they are have {start['psnr']:.2f} dB and SSIM {start['ssim']:.3f}" in text
    assert '<figure id="restored-dehaze">' in text
    assert '<figure id="before_and_after">' in text
    assert not re.search(r"class_accuracy|confusion|chance \d|accuracy", text)
