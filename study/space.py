"""What a search may vary: hyperparameters with range, condition and role, as data.

A space is written once (`study/spaces/`), stored in study.json, drawn on axes, and read by the trial. Nothing between
the space and the line that uses a hyperparameter names it.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from data_utils.images import Task

Role = Literal["scientific", "nuisance", "fixed"]
Json = dict[str, Any]


@dataclass(frozen=True)
class Parameter:
    """One hyperparameter. `when` names the values of earlier ones under which it applies; None: always.

    `scientific`: what the study asks about. `nuisance`: tuned so that the comparison is fair. `fixed`: one value.
    """

    name: str
    distribution: BaseDistribution
    role: Role
    when: Mapping[str, tuple[Any, ...]] | None = None

    def applies(self, config: Mapping[str, Any]) -> bool:
        """Whether this hyperparameter has a meaning in `config`, which holds the earlier ones."""
        return all(config.get(name) in values for name, values in (self.when or {}).items())

    def contains(self, value: Any) -> bool:
        """Whether `value` lies in the range."""
        if isinstance(self.distribution, CategoricalDistribution):
            return value in self.distribution.choices
        return self.distribution._contains(value)

    def to_json(self) -> Json:
        """Range, role and condition in plain types, as study.json keeps them."""
        when = {name: list(values) for name, values in self.when.items()} if self.when else None
        return {"name": self.name, **_distribution_json(self.distribution), "role": self.role, "when": when}


def _distribution_json(distribution: BaseDistribution) -> Json:
    if isinstance(distribution, CategoricalDistribution):
        return {"type": "categorical", "choices": list(distribution.choices)}
    if isinstance(distribution, FloatDistribution | IntDistribution):
        kind = "float" if isinstance(distribution, FloatDistribution) else "int"
        return {"type": kind, "low": distribution.low, "high": distribution.high, "log": distribution.log}
    raise TypeError(f"{distribution!r} is no distribution that a space can store")


@dataclass(frozen=True)
class Space:
    """One architecture family: its network, its hyperparameters and its reference setting, the first trial.

    `task` is what its networks answer to an image: its class, or another image. `smallest_image` is the least side, in
    pixels, of images that every one of its configurations takes. `file` is where a space of the user's own comes from,
    which may define its network too.
    """

    name: str
    network: str
    description: str
    architecture: tuple[Parameter, ...]
    training: tuple[Parameter, ...]
    reference: Mapping[str, Any]
    task: Task = "classification"
    smallest_image: int = 1
    file: Path | None = None

    def __post_init__(self) -> None:
        problem = next(self._problems(), None)
        if problem is not None:
            raise ValueError(f"Space {self.name!r}: {problem}")

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """All hyperparameters; a condition refers only to earlier ones."""
        return self.architecture + self.training

    def active(self, config: Mapping[str, Any]) -> list[str]:
        """Names of the hyperparameters that apply in `config`, in order."""
        names: list[str] = []
        for parameter in self.parameters:
            if parameter.applies({name: config[name] for name in names if name in config}):
                names.append(parameter.name)
        return names

    def to_json(self) -> Json:
        """The space in plain types, with a checksum over them, so that a resume notices a change."""
        groups = (("architecture", self.architecture), ("training", self.training))
        content: Json = {
            "network": self.network,
            "task": self.task,
            "description": self.description,
            "parameters": [{**p.to_json(), "kind": kind} for kind, group in groups for p in group],
            "reference": dict(self.reference),
        }
        compared = {"network": self.network.rpartition(":")[2], **{k: content[k] for k in ("parameters", "reference")}}
        text = json.dumps(compared, sort_keys=True)
        code = self.file.read_bytes() if self.file else b""
        checksum = hashlib.sha256(text.encode() + code).hexdigest()
        return {**content, "file": str(self.file) if self.file else None, "sha256": checksum}

    def _problems(self) -> Iterator[str]:
        if re.fullmatch(r"\w[\w-]*", self.name) is None:  # trials, and so folders, are named by it
            yield "its name may have letters, digits, _ and, after the first character, - only. Rename it"
        names = [parameter.name for parameter in self.parameters]
        yield from (f"two hyperparameters are called {name!r}" for name in names if names.count(name) > 1)
        for position, parameter in enumerate(self.parameters):
            for condition in parameter.when or {}:
                if condition not in names[:position]:
                    yield f"{parameter.name!r} depends on {condition!r}, which does not stand before it"
        if list(self.reference) != self.active(self.reference):
            yield f"the reference sets {list(self.reference)}, but {self.active(self.reference)} apply, in this order"
        for parameter in self.parameters:
            if parameter.applies(self.reference) and not parameter.contains(self.reference[parameter.name]):
                yield f"the reference {parameter.name} = {self.reference[parameter.name]!r} lies outside its range"


def position(parameter: Parameter, value: Any) -> float:
    """Return where `value` lies in the range of a numeric hyperparameter, on its scale, from 0 to 1."""
    distribution = parameter.distribution
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = distribution.low, distribution.high
    if low == high:
        return 0.5
    if distribution.log:
        return float(math.log(value / low) / math.log(high / low))
    return float((value - low) / (high - low))
