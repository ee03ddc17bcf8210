"""The engine under every trained stage: order of samples, optimizer, EMA, checkpoints, metrics."""
