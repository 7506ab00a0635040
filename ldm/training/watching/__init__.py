"""What a run shows: console, curves, pace, pictures, the loss by noise level."""
