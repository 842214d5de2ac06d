"""Measure when sparse layers pay, in time and in memory, on the machine at hand."""
