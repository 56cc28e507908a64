"""What a network costs: parameters, multiply-adds."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.backends import cudnn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


def count_parameters(module: nn.Module) -> int:
    """Trainable parameters of `module`: weights, biases, batch-norm scales and shifts."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


class EagerMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A mode that sees every operation and lets torch's compiler alone: to be skipped by it, modes import it, which
    takes a worker more than a second, for nothing that is used here.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class _Operations(EagerMode):
    """Counts the floating-point operations of what runs inside it, by the formulas of torch's own `FlopCounterMode`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.count += formula(*args, **(kwargs or {}), out_val=result)
        return result


def multiply_adds(network: nn.Module, input_shape: tuple[int, int, int]) -> int:
    """Multiply-adds of convolutions and matrix products for one image (C, H, W), as they run, whoever wrote the layer.

    The image goes through the network in evaluation mode, which leaves it and the random state as they were.
    """
    device, training = next(network.parameters()).device, network.training
    example = torch.zeros(1, *input_shape, device=device)
    gpus = [device] if device.type == "cuda" else []
    operations = _Operations()
    with (
        torch.random.fork_rng(gpus),
        cudnn.flags(enabled=True, benchmark=False),  # this size does not come again
        operations,
        torch.no_grad(),
    ):
        network.eval()(example)
    network.train(training)
    return operations.count // 2  # a multiply-add is two
