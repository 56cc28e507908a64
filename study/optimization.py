"""Optimizer and learning-rate schedule from the hyperparameters of a trial."""

import inspect
import math
from collections.abc import Callable
from typing import Any, Final, TypeVar

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from study.config import Config

Kind = TypeVar("Kind", bound=Optimizer)

WARM_UP: Final = 0.3  # share of the steps in which one_cycle rises, as in Smith & Topin 2018 (arXiv 1708.07120)


def optimizer(config: Config, model: nn.Module) -> Optimizer:
    """Return the optimizer that `config` names; weight decay, if any, acts on every parameter."""
    weight_decay = config["weight_decay"] if config["decay"] == "weights" else 0.0
    return OPTIMIZERS[config["optimizer"]](config, list(model.parameters()), weight_decay)


def _eager(kind: type[Kind]) -> type[Kind]:
    """Return `kind` with the methods that torch wraps so that they can be compiled with a network.

    The wrappers import torch's compiler, which nothing here uses: 1.2 s and 800 modules for each worker.
    """
    names = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in names}
    return type(kind.__name__, (kind,), {**methods, "step": torch.no_grad()(inspect.unwrap(kind.step))})


SGD, Adam, AdamW = _eager(torch.optim.SGD), _eager(torch.optim.Adam), _eager(torch.optim.AdamW)


def _sgd(config: Config, parameters: list[nn.Parameter], weight_decay: float) -> Optimizer:
    form = config["momentum_form"]
    return SGD(
        parameters,
        lr=config["sgd_lr"],
        momentum=0.0 if form == "none" else config["momentum"],
        nesterov=form == "nesterov",
        weight_decay=weight_decay,
        fused=True,
    )


def _adam(config: Config, parameters: list[nn.Parameter], weight_decay: float) -> Optimizer:
    """Adam as published: the decay is part of the gradient, and so scaled by it."""
    return Adam(parameters, lr=config["adam_lr"], weight_decay=weight_decay, fused=True)


def _adamw(config: Config, parameters: list[nn.Parameter], weight_decay: float) -> Optimizer:
    return AdamW(parameters, lr=config["adamw_lr"], weight_decay=weight_decay, fused=True)


OPTIMIZERS: Final[dict[str, Callable[..., Optimizer]]] = {"adam": _adam, "adamw": _adamw, "sgd": _sgd}


def schedule(config: Config, optimizer: Optimizer, steps: int) -> LambdaLR:
    """Return the schedule that `config` names over a training of `steps` steps, advanced once per step."""
    name = config["schedule"]
    factor: Callable[[float], float] = SCHEDULES[name]
    rise = 0.0 if name == "one_cycle" else config["warm_up"] * steps  # steps
    return LambdaLR(optimizer, lambda step: factor(min(step / steps, 1.0)) * min((step + 1) / max(rise, 1.0), 1.0))


def _constant(_progress: float) -> float:
    return 1.0


def _step(progress: float) -> float:
    """A tenth after half and again after three quarters: 32k and 48k of 64k steps in He et al. 2016."""
    return 0.1 ** ((progress >= 0.5) + (progress >= 0.75))


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


def _one_cycle(progress: float) -> float:
    """Linear rise from 1/25 to 1 over the warm-up, then a cosine to zero; momentum stays as it is."""
    if progress < WARM_UP:
        return 0.04 + 0.96 * progress / WARM_UP
    return _cosine((progress - WARM_UP) / (1 - WARM_UP))


SCHEDULES: Final[dict[str, Callable[[float], float]]] = {
    "constant": _constant,
    "cosine": _cosine,
    "one_cycle": _one_cycle,
    "step": _step,
}


def learning_rate(optimizer: Optimizer) -> float:
    """Learning rate of the next step."""
    group: dict[str, Any] = optimizer.param_groups[0]
    return float(group["lr"])
