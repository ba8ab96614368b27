"""The training loop and what serves it: it knows no images, no text and no application."""
