"""Search policies under a simulated clock: `python -m study.simulate`."""
