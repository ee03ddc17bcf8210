"""GenEval++: several objects with counts, colours, regions and sizes, by a checklist."""
