"""Systems under test: whatever writes captions or paints pictures."""
