"""Compares what came with what a scenario expects; see ../README.md for the ``$`` words."""

import json


class Mismatch(Exception):
    pass


def shown(value):
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 600 else text[:600] + "…"


def kind(value):
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    for name, types in (("number", (int, float)), ("string", str), ("array", list), ("object", dict)):
        if isinstance(value, types):
            return name
    return type(value).__name__


def fits(actual, expected, saved):
    try:
        expect(actual, expected, True, saved)
    except Mismatch:
        return False
    return True


def expect(actual, expected, loose, saved, where="answer"):
    """Raises unless ``actual`` fits; ``loose`` lets objects have more keys than expected."""

    def need(fine, what=None):
        if not fine:
            raise Mismatch(f"{where} is {shown(actual)}, expected {what or shown(expected)}")

    if kind(expected) == "object":
        word = next(iter(expected), None)
        operand = expected.get(word)
        match word:
            case "$type":
                return need(kind(actual) == operand)
            case "$saves":
                need(kind(actual) == "string", "a string")
                saved[operand] = actual
                return None
            case "$starts":
                return need(kind(actual) == "string" and actual.startswith(operand))
            case "$mentions":
                return need(operand in (actual if kind(actual) == "string" else json.dumps(actual)))
            case "$has":
                need(kind(actual) == "array", "an array")
                return need(any(fits(value, operand, saved) for value in actual))
            case "$lacks":
                need(kind(actual) == "array", "an array")
                return need(not any(fits(value, operand, saved) for value in actual))
            case "$not":
                return need(not fits(actual, operand, saved))
            case "$sorted":
                need(kind(actual) == "array" and all(value in actual for value in operand))
                places = [actual.index(value) for value in operand]
                return need(places == sorted(places))
            case "$times":
                return expect(actual, [operand[1]] * operand[0], loose, saved, where)
            case "$same":
                return same_members(actual, operand, True, saved, where)
        need(kind(actual) == "object")
        for key, value in expected.items():
            if kind(value) == "object" and "$missing" in value:
                need(key not in actual, f"no {key}")
                continue
            need(key in actual, f"a key {key}")
            expect(actual[key], value, loose, saved, f"{where}.{key}")
        if not loose:
            for key in actual:
                need(key in expected, f"no {key}")
        return None
    if kind(expected) == "array":
        need(kind(actual) == "array" and len(actual) == len(expected))
        for at, value in enumerate(expected):
            expect(actual[at], value, loose, saved, f"{where}[{at}]")
        return None
    # `True == 1` in Python alone.
    return need(kind(actual) == kind(expected) and actual == expected)


def same_members(actual, expected, loose, saved, where):
    def one(value, wanted):
        try:
            expect(value, wanted, loose, saved)
        except Mismatch:
            return False
        return True

    rest = list(actual) if kind(actual) == "array" else []
    if len(rest) != len(expected):
        raise Mismatch(f"{where} is {shown(actual)}, expected in any order {shown(expected)}")
    for wanted in expected:
        found = next((at for at, value in enumerate(rest) if one(value, wanted)), None)
        if found is None:
            raise Mismatch(f"{where} is {shown(actual)}, nothing in it is {shown(wanted)}")
        rest.pop(found)
