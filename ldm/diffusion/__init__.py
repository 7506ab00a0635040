"""Diffusion as pure functions of tensors: schedule, loss weights, guidance, samplers and the sampling loop."""
