"""Sentences to vectors, as a worker."""
