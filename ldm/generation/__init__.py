"""A generation: its settings and limits, the memory it takes, its sampling loop."""
