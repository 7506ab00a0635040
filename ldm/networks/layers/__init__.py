"""What blocks are made of: linear, convolution, norms, activations, attention's dot product, resampling."""
