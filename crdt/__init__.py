"""Updates, logs and snapshots of Yjs documents. Knows no socket."""
