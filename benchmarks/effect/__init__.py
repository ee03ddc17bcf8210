"""Does the loop learn, and what does each stage contribute? Several seeds, several arms."""
