"""Tests of archstudy. `python -m pytest` runs all of them; `-m "not slow"` leaves out those that start Ray or a browser."""
