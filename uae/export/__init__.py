"""What leaves a run: the gate's decision, the exported model, the registry, metrics.json."""
