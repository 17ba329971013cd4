"""Searches to compare with, at equal numbers of evaluated architectures."""
