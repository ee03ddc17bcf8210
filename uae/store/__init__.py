"""Object storage: an S3 client with retries, and an embedded server for one machine."""
