"""HTML reports: one self-contained page for a run, small ones for the Kubeflow UI."""
