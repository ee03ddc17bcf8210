"""Rectified flow: the straight path, its times, and the samplers that walk it back to data."""
