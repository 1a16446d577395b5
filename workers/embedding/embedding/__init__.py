"""Sentences to vectors, as a worker."""

import os

# Before numpy is imported. Its own threads wait for each other by spinning, which on a busy machine
# costs ten times the work; the service runs batches in threads of its own instead.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
