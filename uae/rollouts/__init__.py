"""Rollouts: groups of captions and of denoising trajectories, with the log-probs that drew them."""
