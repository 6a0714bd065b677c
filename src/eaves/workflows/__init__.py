"""One file a verb: what the command line and Python callers run. Here files are named; the rooms below see arrays."""
