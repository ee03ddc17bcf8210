"""Results of many systems as one page: tables, charts, every sample, and comparisons."""
