"""The starter data set: scenes composed from open artwork, whose whole truth is known."""
