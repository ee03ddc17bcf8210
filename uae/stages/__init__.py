"""The four trained stages, one file each; every one reads top to bottom like the paper."""
