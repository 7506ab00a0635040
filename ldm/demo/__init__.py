"""The toy world: scenes and their judge, untrained and rule-filled releases, photographs. No product file imports it."""
