"""Runs the embedding worker over the socket."""

from .config import Config
from .service import worker

worker(Config()).run()
