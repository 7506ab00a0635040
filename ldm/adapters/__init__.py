"""LoRA and learned tokens: the layers, their files in either layout, conversion and merging."""
