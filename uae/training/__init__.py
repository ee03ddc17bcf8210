"""The engine under every trained stage: batches, processes, optimizer, checkpoints, metrics."""
