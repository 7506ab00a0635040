"""Stable Cascade in PaddlePaddle: text -> prior (Stage C) -> decoder (Stage B) -> autoencoder (Stage A) -> image."""

__version__ = "0.5.0"
