"""The fault harness: programs killed, disks full, memory short. `python tests/faults --help`."""
