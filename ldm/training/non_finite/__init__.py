"""NaN and infinity in training: noticed before they reach the weights, traced, reported."""
