"""The training loop and its parts, independent of images, text and applications."""
