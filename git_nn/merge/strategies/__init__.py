"""What becomes of a tensor that changed on both sides: one file each, listed in ``table``."""
