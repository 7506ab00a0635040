"""Images and captions from disk to arrays. Knows nothing of networks."""
