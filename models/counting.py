"""What a network costs: parameters, multiply-adds."""

import torch
from torch import nn
from torch.backends import cudnn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(module: nn.Module) -> int:
    """Trainable parameters of `module`: weights, biases, batch-norm scales and shifts."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def multiply_adds(network: nn.Module, input_shape: tuple[int, int, int]) -> int:
    """Multiply-adds of convolutions and matrix products for one image (C, H, W), as they run, whoever wrote the layer.

    The image goes through the network in evaluation mode, which leaves it and the random state as they were.
    """
    device, training = next(network.parameters()).device, network.training
    example = torch.zeros(1, *input_shape, device=device)
    gpus = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(gpus),
        cudnn.flags(enabled=True, benchmark=False),  # this size does not come again
        FlopCounterMode(display=False) as counter,
        torch.no_grad(),
    ):
        network.eval()(example)
    network.train(training)
    operations: int = counter.get_total_flops()
    return operations // 2  # a multiply-add is two
