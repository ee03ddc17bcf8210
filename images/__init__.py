"""The images of the steps: what is in them, where they come from, how they are built and pinned."""
