"""The auto-encoder: encoder, connector and decoder, their adapters, and the bundle on disk."""
