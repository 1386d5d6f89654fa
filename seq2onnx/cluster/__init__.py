"""Predict on a Ray cluster: the driver distributes row groups of parquet files, and workers run the model on them."""
