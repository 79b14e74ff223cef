"""Bringing objects to a remote and from it: what is missing where, and the order of the steps."""
