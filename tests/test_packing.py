"""How many trials share a GPU or a machine: measured, fallen back to; and too small images."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import models
from data_utils.datasets import load
from data_utils.images import Images
from study import packing
from study.job import Probe
from study.packing import GIB
from study.plan import Plan, PlanError, check_images, place
from study.sampler import Sampler
from study.spaces import SPACES
from tests.conftest import architecture, labels_of, narrow, shape_for

PLAN = Plan(("resnet",), gpus_per_trial="auto")
PROBE = Probe("resnet", "a GPU", gpu_bytes=10 * GIB, trial_bytes=2 * GIB, images_per_second=1000.0, busy=0.1)


@pytest.mark.parametrize(
    ("trial_gib", "busy", "cores", "together", "bound"),
    [
        (2, 0.1, 16, 4, "limited by memory"),  # 8 of 10 GiB may be filled
        (2, 0.3, 16, 3, "limited by time"),  # 90 % of its time; a fourth would gain a third of a trial
        (2, 0.45, 16, 2, "limited by time"),
        (2, 0.9, 16, 1, "limited by time"),
        (0.1, 0.01, 6, 6, "limited by cores"),
        (9, 0.1, 16, 1, "limited by memory"),
        (2, None, 16, 1, "could not be measured"),
    ],
)
def test_memory_time_and_cores_bound_how_many_share_a_gpu(
    trial_gib: float, busy: float | None, cores: float, together: int, bound: str
) -> None:
    probe = replace(PROBE, trial_bytes=int(trial_gib * GIB), busy=busy)
    chosen, why = packing.choose([probe], cores, cpus_per_trial=1)
    assert chosen == together
    assert bound in why
    assert f"{trial_gib:.1f} of 10.0 GiB" in why


def test_of_several_spaces_the_largest_and_the_busiest_count_and_a_trial_of_more_cores_leaves_room_for_fewer() -> None:
    small, busy = replace(PROBE, trial_bytes=GIB, busy=0.5), PROBE
    assert packing.choose([small, busy], 16, 1)[0] == 2
    large = replace(PROBE, trial_bytes=3 * GIB, busy=0.01)
    assert packing.choose([small, large], 16, 1)[0] == 2
    assert packing.choose([replace(small, busy=0.01)], 16, 4)[0] == 4


def test_the_plan_gets_a_share_that_ray_can_place() -> None:
    nodes = [{"CPU": 32.0, "GPU": 2.0}, {"CPU": 4.0}]
    plan, _ = packing.packed(PLAN, nodes, [replace(PROBE, busy=0.3)])
    assert plan.gpus_per_trial == 0.3333
    assert packing.packings(plan, nodes)[0].slots == 6
    assert packing.packed(PLAN, nodes, [replace(PROBE, busy=1.0)])[0].gpus_per_trial == 1.0


@pytest.mark.parametrize(("node", "gpus"), [({"CPU": 2.0}, 0.0), ({"CPU": 2.0, "GPU": 4.0}, 1.0)])
def test_auto_without_a_measurement_is_one_gpu_or_none(node: dict[str, float], gpus: float) -> None:
    assert place(PLAN, [node]).gpus_per_trial == gpus


def ladder(nodes: list[dict[str, float]], cpus: int, gpus: float) -> list[tuple[int, int, float, float]]:
    plan = Plan(("resnet",), cpus_per_trial=cpus, gpus_per_trial=gpus)
    return [(p.together, p.slots, p.cpus, p.gpus) for p in packing.packings(plan, nodes)]


def test_when_memory_is_short_half_as_many_share_a_gpu_or_a_machine_down_to_one() -> None:
    assert ladder([{"CPU": 16.0, "GPU": 1.0}], 1, 0.125) == [
        (8, 8, 1, 0.125),
        (4, 4, 1, 0.25),
        (2, 2, 1, 0.5),
        (1, 1, 1, 1.0),
    ]
    assert ladder([{"CPU": 16.0, "GPU": 4.0}], 1, 0.33)[1:] == [(1, 4, 1, 1.0)]
    assert ladder([{"CPU": 7.0}], 1, 0.0) == [(7, 7, 1, 0.0), (3, 3, 2.3333, 0.0), (1, 1, 7.0, 0.0)]
    assert ladder([{"CPU": 8.0}, {"CPU": 2.0}], 2, 0.0) == [(4, 5, 2, 0.0), (2, 2, 4.0, 0.0), (1, 1, 8.0, 0.0)]


@pytest.mark.parametrize("gpus", [1.0, 2.0])
def test_a_trial_with_a_whole_gpu_has_nothing_to_fall_back_to(gpus: float) -> None:
    assert len(ladder([{"CPU": 16.0, "GPU": 4.0}], 1, gpus)) == 1


def test_as_many_run_as_the_cores_allow_even_where_the_gpu_would_hold_more() -> None:
    assert ladder([{"CPU": 4.0, "GPU": 1.0}], 1, 0.1)[:2] == [(4, 4, 1, 0.1), (2, 2, 1, 0.5)]


@pytest.mark.parametrize("together", range(1, 65))
def test_every_share_fits_as_often_as_it_says(together: int) -> None:
    node = {"CPU": 64.0, "GPU": 1.0}
    plan = Plan(("resnet",), gpus_per_trial=packing.part(1, together))
    assert packing.packings(plan, [node])[0].together == together


def builds(space: str, side: int) -> bool:
    """Whether every one of 30 configurations builds and takes a batch of images with this side."""
    sampler = Sampler(SPACES[space], seed=1, max_epochs=27)
    for index in range(30):
        config = narrow(SPACES[space], sampler.suggest(index, trials=61)[1])
        options, shape = architecture(SPACES[space], config), shape_for(SPACES[space].task, 3, (side, side))
        try:
            with torch.device("meta"):
                network = models.build(SPACES[space].network, **shape, **options)
                network(torch.empty(4, 3, side, side))
        except (ValueError, RuntimeError):
            return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("space", SPACES)
def test_the_smallest_image_of_a_space_is_what_its_networks_take(space: str) -> None:
    assert builds(space, SPACES[space].smallest_image)
    assert not builds(space, SPACES[space].smallest_image - 1)


def test_images_too_small_for_a_space_are_refused_with_the_size_and_the_flag() -> None:
    digits = load("digits", Path("unused"))
    check_images(list(SPACES.values()), digits)
    tiny = replace(digits, train=Images(digits.train.images[:, :7], labels_of(digits.train)))
    with pytest.raises(PlanError, match=r"7x8 pixels, too few for nin, alexnet: at least 8x8"):
        check_images([SPACES["nin"], SPACES["vgg"], SPACES["alexnet"]], tiny)
    with pytest.raises(PlanError, match=r"at least 8x8\. Enlarge them with --image-size 8, or leave the space out"):
        check_images([SPACES["alexnet"]], tiny)
