"""Tests of archstudy. `-m "not slow"` leaves out those that start Ray or a browser."""
