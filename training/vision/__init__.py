"""Images: reading, pipelines, classifiers with their metrics and pictures, and signatures."""
