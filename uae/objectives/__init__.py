"""Losses of reinforcement learning: for captions (GRPO) and for denoising trajectories."""
