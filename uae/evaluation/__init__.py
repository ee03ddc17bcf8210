"""Unified-Bench, GenEval and DPG-Bench for any system that captions and generates."""
