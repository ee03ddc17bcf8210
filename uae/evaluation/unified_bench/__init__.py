"""Unified-Bench: caption, paint again from the caption alone, compare."""
