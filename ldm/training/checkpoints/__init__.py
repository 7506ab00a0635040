"""Checkpoints: written complete or not at all, finite, locked, and read back exactly."""
