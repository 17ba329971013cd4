"""Searches that only the benchmarks compare with, at equal numbers of evaluations."""
