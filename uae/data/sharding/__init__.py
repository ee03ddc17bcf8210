"""Turning a folder of pictures, on disk or in a bucket, into indexed WebDataset shards."""
