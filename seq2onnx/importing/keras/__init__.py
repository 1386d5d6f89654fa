"""Keras files: read without Keras, and brought over as layers."""
