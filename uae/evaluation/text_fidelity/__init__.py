"""Text in pictures: painted as asked for, and transcribed by the captioner."""
