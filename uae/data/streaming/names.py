"""Names of files beside the shards that `uae shard` writes."""

INDEX, SAMPLES = "index.json", "samples.parquet"
RECORDS = ".unfinished"  # folder of a run that has not ended
