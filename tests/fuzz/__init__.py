"""The fuzz harness: thousands of damaged files and flags through the real programs. `python tests/fuzz --help`."""
