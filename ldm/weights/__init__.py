"""Checkpoints: key rules as data, total conversion both ways, streamed reading, atomic writing, variant detection."""
