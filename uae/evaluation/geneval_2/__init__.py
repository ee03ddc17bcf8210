"""GenEval 2: Soft-TIFA from the probabilities of right answers."""
