"""The image that every step runs in."""

import os

# Pinned by digest where it is deployed: `UAE_IMAGE=... uae compile`.
IMAGE = os.environ.get("UAE_IMAGE", "uae-python:0.1.0")
