"""What is checked before a run: weights, data, room on disk and in memory, one step."""
