"""One module for each wire protocol: bytes to room commands and back, without a socket."""
