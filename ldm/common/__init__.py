"""Ground that knows nothing of the model: files written atomically, JSON, hashes, memory, pictures, the command line."""
