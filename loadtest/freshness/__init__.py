"""Judges the promise "never older than an acknowledged write" from outside: HTTP, processes and links, no internals."""
