"""Files that attack: built in code, read as any other file, and fuzzed. See corpus.py."""
