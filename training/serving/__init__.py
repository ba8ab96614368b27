"""Exports for TensorFlow Serving, a client for a server, and the requests of `predict`."""
