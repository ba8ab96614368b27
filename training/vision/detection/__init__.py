"""Detectors: their shared settings and parts, data with boxes, metrics, pictures and signatures."""
