"""Pure comparison of two versions of a weight file; docs/diff.md defines every number."""
