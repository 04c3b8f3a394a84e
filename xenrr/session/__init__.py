"""The two ends of a control connection, with their sockets, threads and time limits."""
