"""What became of one model over its commits: told from pointers, measured on request."""
