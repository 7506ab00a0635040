"""Parity with recorded reference vectors, in the format of tests/reference/README.md."""
