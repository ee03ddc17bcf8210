"""Pairwise judging: of two systems' captions of one picture, which is the better description."""
