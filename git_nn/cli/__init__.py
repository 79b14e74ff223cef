"""The commands that people type: click only, one file per command."""
