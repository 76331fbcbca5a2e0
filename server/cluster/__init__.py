"""Several processes and several machines: which one serves whom, and how connections get there."""
