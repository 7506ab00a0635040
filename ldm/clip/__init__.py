"""The frozen CLIP towers and their tokenizer (Radford et al., https://arxiv.org/abs/2103.00020): files, encoders, training a pair."""
