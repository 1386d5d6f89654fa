"""Measure a model and describe it on one HTML page: benchmark, comparison with targets, report."""
