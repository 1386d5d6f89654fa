"""Torch modules: traced, and brought over as layers."""
