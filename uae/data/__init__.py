"""Image-caption pairs: reading, profiling, expectations and the validated shard format."""
