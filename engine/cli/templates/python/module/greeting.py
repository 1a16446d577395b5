"""What the worker thinks: plain functions, no bus."""


def greet(name: str) -> str:
    """A friendly sentence for ``name``."""
    return f"hello {name}"
