"""Models behind OpenAI-compatible servers: requests, retries, and what a failed one means."""
