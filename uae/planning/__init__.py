"""What a recipe needs before a GPU starts: memory, work, time, and how batches are shared out."""
