"""The trainers' command lines: which flags there are, their ranges, and which are refused."""
