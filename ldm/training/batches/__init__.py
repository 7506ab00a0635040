"""What reaches a training step: the dataset, its order, batches, random draws."""
