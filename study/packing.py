"""How many trials run at once: what a slot gets of a GPU or a machine, and what to fall back to when memory is short.

Arithmetic alone, without torch or Ray. What a trial takes is measured in a slot (`study/memory.py`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from study.job import Job, Probe
from study.plan import Plan, slots_of
from study.space import Space

Nodes = Sequence[Mapping[str, float]]

FILLED: Final = 0.8  # share of a GPU's memory that reference settings may fill: others of their space are larger
GIB: Final = 2**30


@dataclass(frozen=True)
class Packing:
    """`together` trials share a GPU or, without GPUs, a machine; `slots` run in all, each with `cpus` and `gpus`.

    `resources` are a cluster's own, by name.
    """

    together: int
    slots: int
    cpus: float
    gpus: float
    resources: Mapping[str, float] = field(default_factory=dict)

    @property
    def sharing(self) -> str:
        """What trials do, in words."""
        where = "GPU" if self.gpus else "machine"
        return f"one trial at a time has a {where}" if self.together == 1 else f"{self.together} trials share a {where}"


def packings(plan: Plan, nodes: Nodes) -> tuple[Packing, ...]:
    """Return the packing of a placed `plan`, then the ones that follow when memory is short: half as many each time.

    Slots become larger so that Ray keeps to it on every GPU and node, whichever of them is free first. Where no node
    has room, as when all have left a cluster, there are none.
    """
    gpus, cores, own = plan.gpus_per_trial, max((node.get("CPU", 0) for node in nodes), default=0), plan.resources
    assert isinstance(gpus, int | float), "place() comes first"
    on_each = [slots_of(node, plan.cpus_per_trial, gpus, own) for node in nodes]
    most = max(on_each, default=0)
    if gpus and most:
        most = min(most, int(1 / gpus + 1e-9)) if gpus < 1 else 1
    found = [Packing(most, sum(on_each), plan.cpus_per_trial, gpus, own)]
    while (together := found[-1].together // 2) >= 1:
        cpus, share = (plan.cpus_per_trial, part(1, together)) if gpus else (part(cores, together), 0.0)
        found.append(Packing(together, sum(slots_of(node, cpus, share, own) for node in nodes), cpus, share, own))
    return tuple(found)


def part(whole: float, count: int) -> float:
    """Return a `count`-th of `whole`, rounded down to the ten-thousandths that Ray counts in."""
    return math.floor(whole / count * 10_000) / 10_000


def choose(probes: Sequence[Probe], cores: float, cpus_per_trial: int) -> tuple[int, str]:
    """Return how many trials shall share a GPU, and why. `cores` are a node's CPU cores for each of its GPUs.

    Processes take turns on a GPU, so n trials use n times the time that one keeps it busy, up to all of it. One more
    pays while at least half of its time is still free.
    """
    largest = max(probes, key=lambda probe: probe.trial_bytes / probe.gpu_bytes)
    by_memory = int(FILLED * largest.gpu_bytes / largest.trial_bytes)
    measured = [probe.busy for probe in probes if probe.busy is not None]
    known = len(measured) == len(probes)
    by_time = max(1, math.floor(1 / max(max(measured), 1e-3) + 0.5)) if known else 1
    by_cores = max(1, int(cores // cpus_per_trial))
    together = max(1, min(by_memory, by_time, by_cores))
    bound = {by_cores: "cores", by_time: "time", by_memory: "memory"}.get(together, "memory")
    busy = f"keeps it busy {max(measured):.0%} of the time" if known else "how busy it is could not be measured"
    words = (
        f"a trial takes {largest.trial_bytes / GIB:.1f} of {largest.gpu_bytes / GIB:.1f} GiB and {busy}; "
        f"{by_cores} would have their CPU cores; limited by {bound}"
    )
    return together, words


def reference_jobs(plan: Plan, spaces: Mapping[str, Space]) -> list[Job]:
    """Return the trials that are measured: the reference setting of each space. They leave no files."""
    return [
        Job(
            kind="trial",
            key=name,
            network=space.network,
            architecture=tuple(parameter.name for parameter in space.architecture),
            config=space.reference,
            seed=plan.seed,
            max_epochs=plan.max_epochs,
            rungs=(),
            folder=plan.folder.absolute() / "probe",
            logged_epochs=0,
            fp32=plan.fp32,
        )
        for name, space in spaces.items()
    ]


def packed(plan: Plan, nodes: Nodes, probes: Sequence[Probe]) -> tuple[Plan, str]:
    """Return `plan` with the GPUs per trial that `probes` call for, and why."""
    cores = min(node["CPU"] / node["GPU"] for node in nodes if node.get("GPU"))
    together, why = choose(probes, cores, plan.cpus_per_trial)
    return replace(plan, gpus_per_trial=1.0 if together == 1 else part(1, together)), why
