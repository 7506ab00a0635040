"""Faster ways, most of them for CPUs, to compute what the formulas one folder up say: the same to float32's last digits.

Nobody needs these files to understand a network. `switch.py` says how they are called and how all of it is switched off;
what each one gains is in benchmarks/README.md, "What the faster layers gain".
"""
