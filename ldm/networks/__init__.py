"""The networks of the cascade as plain `paddle.nn.Layer`s: no files, no schedules, no CLIP."""
