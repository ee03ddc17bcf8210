"""Rewards: how alike two pictures are, and the guards against cheating."""
