"""Weights of published models: from where, under which licence, and whether they are whole.

A weights folder holds bundles, `scorers/<name>`, detectors and judges, and one `manifest.json` that
names all their files. It lies on this machine, in a bucket or on a hub.
"""
