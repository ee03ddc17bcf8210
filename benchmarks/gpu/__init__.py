"""One update of every stage at full size, with random weights, beside what `uae plan` predicts."""
