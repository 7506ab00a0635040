"""Measuring a cascade that was trained on the scenes: what `scripts/evaluate_scenes.py` prints, part by part."""
