"""Predictions against targets: figures, tables of predictions, comparison of files, thresholds of alarms."""
