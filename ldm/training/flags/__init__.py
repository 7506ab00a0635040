"""The trainers' command lines: which flags there are, what they may say, and which are refused."""
