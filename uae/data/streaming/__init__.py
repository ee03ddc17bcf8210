"""Shuffled reading of WebDataset shards in a folder or bucket, never of all at once."""
