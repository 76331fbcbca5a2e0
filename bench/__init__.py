"""Roomful measured beside other Yjs servers, on one machine, in one run. See ``python -m bench --help``."""
