"""What data of the scenarios stands for, and whether an answer is as expected."""

import json


class Mismatch(Exception):
    pass


def fill(value, saved):
    """``$name`` in texts, and what JSON cannot say."""
    if isinstance(value, str):
        for name, text in saved.items():
            value = value.replace(f"${name}", text)
        return value
    if isinstance(value, list):
        return [fill(item, saved) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"$bytes": some}:
            return bytes(some)
        case {"$pattern": size}:
            return (bytes(range(251)) * (size // 251 + 1))[:size]
        case {"$repeat": [times, unit]}:
            return unit * times
        case {"$nan": _}:
            return float("nan")
    return {fill(key, saved): fill(item, saved) for key, item in value.items()}


def expect(found, wanted, loose, path="."):
    """``loose``: an object may have more keys."""
    if isinstance(wanted, dict) and wanted and next(iter(wanted)).startswith("$"):
        return special(found, wanted, path)
    if isinstance(wanted, dict) and isinstance(found, dict):
        if not loose and found.keys() != wanted.keys():
            raise Mismatch(f"{path} has the keys {list(found)}, expected {list(wanted)}")
        for key, item in wanted.items():
            expect(found.get(key), item, loose, f"{path}.{key}")
        return None
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for at, (one, other) in enumerate(zip(found, wanted)):
            expect(one, other, loose, f"{path}[{at}]")
        return None
    same = found == wanted and isinstance(found, bool) == isinstance(wanted, bool)
    if not same or isinstance(found, bytes) != isinstance(wanted, bytes):
        raise Mismatch(f"{path} is {shown(found)}, expected {shown(wanted)}")


def special(found, wanted, path):
    [(word, operand)] = wanted.items()
    match word:
        case "$type":
            kinds = {"string": str, "number": (int, float)}
            fine = isinstance(found, kinds[operand])
        case "$between":
            fine = isinstance(found, (int, float)) and operand[0] <= found <= operand[1]
        case "$has":
            fine = operand in (found or [])
        case "$contains":
            fine = isinstance(found, str) and operand in found
        case _:
            raise ValueError(f"no such word: {word}")
    if not fine:
        raise Mismatch(f"{path} is {shown(found)}, expected {wanted}")


def shown(value):
    if isinstance(value, bytes):
        return f"{len(value)} bytes, {value[:8]!r}…"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) < 300 else f"{text[:300]}…"
