"""Packs far away: what every remote can do (base), one file for each kind, and a table."""
