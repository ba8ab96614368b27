"""Text: words and their numbers."""
