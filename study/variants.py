"""Variants: spaces made of one of the package, or of a file, by holding some hyperparameters at one value.

A variant is a `Space` like any other, under a name of its own: what is held has one value and the role `fixed`, and
what can no longer apply is left out. So search, log, tables and verdicts treat it as they treat every space.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from study.plan import Json, PlanError, check_name
from study.space import Parameter, Space
from study.spaces import find
from study.spaces.training import OPTIONAL


def build(name: str, variant: Json) -> Space:
    """Return the space of a variant, whose keys are those that `study.experiment` reads.

    `network` names one of `models.REFERENCES`, whose layers are then held exactly as its source prints them, sizes
    that the space does not search included. `fix` are values of every trial, `reference` values of the first one, both
    within the range of the space. `also` are hyperparameters that only some studies want. With `free`, all other
    hyperparameters are held at the reference setting. Raises `PlanError` for a name or value that the space has not.
    """
    base = base_of(variant["space"], variant["also"])
    printed = {} if variant["network"] is None else _printed(name, base, variant["network"])
    fix = _checked(name, base, "fix", variant["fix"])
    first = _checked(name, base, "reference", variant["reference"])
    for hyperparameter in variant["free"] or ():
        check_name(f"hyperparameter in free of {name}", hyperparameter, _names(base))
    values = {**base.reference, **printed, **first, **fix}
    kept = _hold(name, base, values, {*printed, *fix}, variant["free"])
    architecture, training = (
        tuple(kept[parameter.name] for parameter in part if parameter.name in kept)
        for part in (base.architecture, base.training)
    )
    setting = _setting(name, base, tuple(kept.values()), values)
    made = replace(base, name=name, architecture=architecture, training=training, reference=setting)
    return replace(made, description=f"A variant of {base.name}. {base.description}")


def base_of(space: str, also: Collection[str]) -> Space:
    """Return the space of the package or of a file, with the hyperparameters `also` of `OPTIONAL`.

    Raises `PlanError` for one that is not there.
    """
    try:
        base = find(space)
    except ValueError as error:
        raise PlanError(str(error)) from error
    for name in also:
        check_name(f"hyperparameter in also, beside {space}:", name, OPTIONAL)
    more = [OPTIONAL[name] for name in also]
    reference = {**base.reference, **{parameter.name: value for parameter, value in more}}
    return replace(base, training=(*base.training, *(parameter for parameter, _ in more)), reference=reference)


def _names(space: Space) -> list[str]:
    return [parameter.name for parameter in space.parameters]


def _printed(name: str, base: Space, network: str) -> Mapping[str, Any]:
    """Return the architecture of a source's network."""
    from models.references import REFERENCES  # here: torch, which the driver else does without

    check_name(f"network of {name}", network, REFERENCES)
    reference = REFERENCES[network]
    if reference.network != base.network:
        raise PlanError(
            f"Variant {name!r} has the network {network}, a {reference.network}, but the space {base.name}, whose "
            f"network is {base.network}. Give the space of that network."
        )
    return reference.options


def _checked(name: str, base: Space, table: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` as the space has them. Raises `PlanError` for what it has not."""
    known = {parameter.name: parameter for parameter in base.parameters}
    checked = {}
    for hyperparameter, value in values.items():
        check_name(f"hyperparameter in {table} of {name}", hyperparameter, known)
        checked[hyperparameter] = _value(f"{table} of {name}", base, known[hyperparameter], value)
    return checked


def _value(where: str, base: Space, parameter: Parameter, value: Any) -> Any:
    """Return `value` in the type of the range."""
    distribution = parameter.distribution
    if isinstance(distribution, CategoricalDistribution):
        same = [choice for choice in distribution.choices if choice == value and type(choice) is type(value)]
        if same:
            return same[0]
        rule = f"one of {', '.join(map(str, distribution.choices))}"
    else:
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        whole = isinstance(distribution, IntDistribution)
        number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if number and distribution.low <= value <= distribution.high:
            return int(value) if whole else float(value)
        rule = f"{'a whole number' if whole else 'a number'} from {distribution.low:g} to {distribution.high:g}"
    raise PlanError(
        f"{parameter.name} is {value!r} in {where}, but must be {rule}: the range of the space {base.name}. Change it, "
        f"or the space."
    )


def _hold(
    name: str, base: Space, values: Mapping[str, Any], held: Collection[str], free: Collection[str] | None
) -> dict[str, Parameter]:
    """Return the hyperparameters that can apply, those that are `held`, or not `free`, with their one value."""
    kept: dict[str, Parameter] = {}
    for parameter in base.parameters:
        if not _reachable(parameter, kept):
            continue
        if parameter.name in held or parameter.role == "fixed" or (free is not None and parameter.name not in free):
            if parameter.name not in values:
                raise PlanError(
                    f"{parameter.name} of {name} can apply, but has no value to be held at. Give it one in fix, or "
                    f"name it in free."
                )
            one = CategoricalDistribution((values[parameter.name],))
            parameter = replace(parameter, distribution=one, role="fixed")
        kept[parameter.name] = parameter
    return kept


def _reachable(parameter: Parameter, kept: Mapping[str, Parameter]) -> bool:
    """Whether some configuration of the earlier hyperparameters lets this one apply."""
    for condition, allowed in (parameter.when or {}).items():
        distribution = kept[condition].distribution if condition in kept else None
        if not isinstance(distribution, CategoricalDistribution) or not set(distribution.choices) & set(allowed):
            return False
    return True


def _setting(name: str, base: Space, kept: tuple[Parameter, ...], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the reference setting: the values of those that apply."""
    setting: dict[str, Any] = {}
    for parameter in kept:
        if parameter.applies(setting):
            if parameter.name not in values:
                raise PlanError(
                    f"{parameter.name} applies in the first trial of {name}, but the reference setting of "
                    f"{base.name} has no value for it. Give it one in reference or fix."
                )
            setting[parameter.name] = values[parameter.name]
    return setting


def resolved(space: str, folder: Path) -> str:
    """Return the name of a space as it is found from anywhere: a file beside that of its experiment."""
    return str((folder / space).absolute()) if space.endswith(".py") else space
