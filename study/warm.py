"""Begin with what earlier studies found: their best configurations of a space, as far as they still fit."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from optuna.distributions import CategoricalDistribution

from analysis.events import read_events
from study.plan import Json, Plan, PlanError, read_study
from study.space import Parameter, Space

MOST: Final = 5  # configurations of a space that a study begins with
SHARE: Final = 0.25  # of its trials that these may be at most: the others shall still be searched for


def gather(plan: Plan, spaces: Mapping[str, Space]) -> Json:
    """Return by space what the studies in `plan.warm_start` give: `configs` with their origin, `found`, `left_out`.

    The best of each study come first, in turns, since scores of different studies do not compare. Raises `PlanError`
    for a folder that is no study, and if none of them has one of the spaces.
    """
    if not plan.warm_start:
        return {}
    known = {str(folder): read_study(folder)["spaces"] for folder in plan.warm_start}
    if not any(name in found for found in known.values() for name in spaces):
        there = "; ".join(f"{folder} has {', '.join(found)}" for folder, found in known.items())
        raise PlanError(
            f"--warm-start gives nothing for {', '.join(spaces)}: {there}. Give a study that searched one of the "
            f"spaces, or leave --warm-start out."
        )
    most = min(MOST, int(SHARE * plan.trials))
    return {name: _of_space(space, plan.warm_start, most) for name, space in spaces.items()}


def configs(warm: Json, space: str) -> list[dict[str, Any]]:
    """Return the configurations that a study begins with in `space`."""
    return [one["config"] for one in warm.get(space, {}).get("configs", [])]


def words(warm: Json) -> str:
    """Say how many configurations of each space are taken, and how many do not fit."""
    parts = []
    for name, found in warm.items():
        misfits = f", {len(found['left_out'])} do not fit" if found["left_out"] else ""
        parts.append(f"{name} {len(found['configs'])} of {found['found']}{misfits}")
    return "; ".join(parts)


def _of_space(space: Space, folders: Sequence[Path], most: int) -> Json:
    ranked = [best(folder, space.name) for folder in folders]
    in_turn = [one for turn in zip_longest(*ranked) for one in turn if one is not None]
    taken: list[Json] = []
    left_out: list[Json] = []
    for one in in_turn:
        if len(taken) == most:
            break
        config, reason = fit(space, one["config"])
        if reason:
            left_out.append({"run": one["run"], "trial": one["trial"], "reason": reason})
        elif config not in [space.reference, *[other["config"] for other in taken]]:
            taken.append({**one, "config": config})
    return {"configs": taken, "found": len(in_turn), "left_out": left_out}


def best(folder: Path, space: str) -> list[Json]:
    """Return the trials of `space` at full length in the study in `folder`, the highest last score first."""
    known: dict[str, Json] = {}
    finished = []
    for event in read_events(folder / "events.jsonl")[0]:
        if event["event"] == "suggested" and event["space"] == space:
            known[event["trial"]] = {"run": str(folder), "trial": event["trial"], "config": event["config"]}
        elif event["event"] == "epoch" and event["trial"] in known:
            known[event["trial"]]["score"] = event["val_score"]
        elif event["event"] == "ended" and event["state"] == "finished" and event["trial"] in known:
            finished.append(known[event["trial"]])
    return sorted(finished, key=lambda one: one["score"], reverse=True)


def fit(space: Space, earlier: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Return an earlier configuration as one of `space`, and why it cannot be one, or None.

    What the space no longer has is left out; what is new takes the reference setting's value.
    """
    config: dict[str, Any] = {}
    for parameter in space.parameters:
        if not parameter.applies(config):
            continue
        name = parameter.name
        if name not in earlier and name not in space.reference:
            return config, f"{name} is new, and the reference setting has no value for it"
        value = earlier.get(name, space.reference.get(name))
        if not _contains(parameter, value):
            return config, f"{name} = {value!r} lies outside its range"
        config[name] = value
    return config, None


def _contains(parameter: Parameter, value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return parameter.contains(value) if number or isinstance(parameter.distribution, CategoricalDistribution) else False
