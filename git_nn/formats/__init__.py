"""Formats: a readable file -> the layout it proposes; never trusted, never executed."""
