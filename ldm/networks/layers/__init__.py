"""What blocks are made of: linear, convolution, norms, activations, attention's dot product, resampling.

These files are the formulas. `@faster(...)` above one hands over to a faster way to compute it, in `fast/`.
"""
