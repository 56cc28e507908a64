"""`KINDS`, the mirrors by the field of the plan that asks for them; tried before anything starts, opened later."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Final

from study.mirrors import Mirror
from study.plan import Plan, PlanError
from study.secrets import masked
from study.space import Space

Spaces = Mapping[str, Space]


def _optuna_storage(plan: Plan, spaces: Spaces, created: str | None) -> Mirror:
    from study.mirrors.optuna_storage import OptunaStorage

    assert plan.optuna_storage is not None, "it was asked for"
    return OptunaStorage(plan.optuna_storage, plan.known_as, created, spaces)


def _tensorboard(plan: Plan, _spaces: Spaces, _created: str | None) -> Mirror:
    from study.mirrors.tensorboard import TensorBoard

    return TensorBoard(plan.folder / "tensorboard")


def _mlflow(plan: Plan, _spaces: Spaces, created: str | None) -> Mirror:
    from study.mirrors.mlflow import Mlflow

    assert plan.mlflow is not None, "it was asked for"
    return Mlflow(plan.mlflow, plan.known_as, created)


KINDS: Final[dict[str, Callable[[Plan, Spaces, str | None], Mirror]]] = {
    "optuna_storage": _optuna_storage,
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
}


def check(plan: Plan, spaces: Spaces, created: str | None, fields: Collection[str]) -> None:
    """Raise `PlanError` if a mirror, of those that `fields` name, is asked for and cannot be opened.

    `created` is None for a study that is yet to begin.
    """
    for field in fields:
        if not getattr(plan, field):
            continue
        try:
            KINDS[field](plan, spaces, created).close()
        except ImportError as error:
            remedy = f"pip install 'archstudy[{field}]'" if field == "mlflow" else "Install it"
            raise PlanError(
                f"{_flag(plan, field)} needs the package {error.name}, which is not here. {remedy}."
            ) from error
        except Exception as error:  # whatever another tool raises
            first = masked((str(error).strip().splitlines() or [""])[0])
            raise PlanError(
                f"{_flag(plan, field)} cannot be used: {type(error).__name__}: {first}. Mend that, give another place, "
                f"or leave the flag out."
            ) from error


def makes(plan: Plan, spaces: Spaces, created: str) -> dict[str, Callable[[], Mirror]]:
    """Return how each mirror of a study is opened, by what people know it as."""
    return {
        _flag(plan, field): partial(kind, plan, spaces, created)
        for field, kind in KINDS.items()
        if getattr(plan, field)
    }


def _flag(plan: Plan, field: str) -> str:
    value = getattr(plan, field)
    return f"--{field.replace('_', '-')}" + ("" if value is True else f" {value}")
