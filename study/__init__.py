"""Run a study: which architecture is better, under what budget, and how sure are we. Start: `python -m study.run`."""
