"""Sockets, sessions and rooms: the process that serves."""
