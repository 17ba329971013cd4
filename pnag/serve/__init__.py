"""The generator as a small HTTP service: a budget in, an architecture and its prediction out."""
