// Compares what came with what a scenario expects; see ../README.md for the `$` words.

export class Mismatch extends Error {}

const shown = (value) => {
  const text = value === undefined ? "nothing" : (JSON.stringify(value) ?? String(value));
  return text.length > 600 ? `${text.slice(0, 600)}…` : text;
};
const kind = (value) => (value === null ? "null" : Array.isArray(value) ? "array" : typeof value);
const own = (object, key) => Object.prototype.hasOwnProperty.call(object, key);

/** Throws unless `actual` fits; `loose` lets objects have more keys than expected. */
export function expect(actual, expected, loose, saved, where = "answer") {
  const fail = (what) => {
    throw new Mismatch(`${where} is ${shown(actual)}, expected ${what ?? shown(expected)}`);
  };
  if (kind(expected) === "object") {
    const [word] = Object.keys(expected);
    const operand = expected[word];
    const fits = (value, wanted) => {
      try {
        expect(value, wanted, true, saved);
        return true;
      } catch {
        return false;
      }
    };
    switch (word) {
      case "$type":
        return kind(actual) === operand ? undefined : fail(`of type ${operand}`);
      case "$saves":
        if (kind(actual) !== "string") fail("a string");
        saved[operand] = actual;
        return;
      case "$starts":
        return kind(actual) === "string" && actual.startsWith(operand) ? undefined : fail();
      case "$mentions":
        return (typeof actual === "string" ? actual : shown2(actual)).includes(operand) ? undefined : fail();
      case "$has":
        if (kind(actual) !== "array") fail("an array");
        return actual.some((value) => fits(value, operand)) ? actual.find((value) => fits(value, operand)) && undefined : fail();
      case "$lacks":
        if (kind(actual) !== "array") fail("an array");
        return actual.some((value) => fits(value, operand)) ? fail() : undefined;
      case "$not":
        return fits(actual, operand) ? fail() : undefined;
      case "$sorted": {
        if (kind(actual) !== "array") fail("an array");
        const places = operand.map((value) => actual.indexOf(value));
        return places.every((place, at) => place >= 0 && (at === 0 || places[at - 1] < place)) ? undefined : fail();
      }
      case "$times":
        return expect(actual, Array(operand[0]).fill(operand[1]), loose, saved, where);
      case "$same":
        return sameMembers(actual, operand, true, saved, where);
    }
    if (kind(actual) !== "object") fail();
    for (const key of Object.keys(expected)) {
      if (expected[key]?.$missing) {
        if (own(actual, key)) throw new Mismatch(`${where} has ${key}: ${shown(actual[key])}`);
      } else if (!own(actual, key)) {
        throw new Mismatch(`${where} has no ${key}: ${shown(actual)}`);
      } else {
        expect(actual[key], expected[key], loose, saved, `${where}.${key}`);
      }
    }
    if (!loose) {
      for (const key of Object.keys(actual)) {
        if (!own(expected, key)) throw new Mismatch(`${where} has ${key} too: ${shown(actual)}`);
      }
    }
    return;
  }
  if (kind(expected) === "array") {
    if (kind(actual) !== "array" || actual.length !== expected.length) fail();
    expected.forEach((value, at) => expect(actual[at], value, loose, saved, `${where}[${at}]`));
    return;
  }
  if (actual !== expected) fail();
}

const shown2 = (value) => JSON.stringify(value) ?? "";

export function sameMembers(actual, expected, loose, saved, where) {
  if (kind(actual) !== "array" || actual.length !== expected.length) {
    throw new Mismatch(`${where} is ${shown(actual)}, expected in any order ${shown(expected)}`);
  }
  const rest = [...actual];
  for (const wanted of expected) {
    const at = rest.findIndex((value) => {
      try {
        expect(value, wanted, loose, saved);
        return true;
      } catch {
        return false;
      }
    });
    if (at < 0) throw new Mismatch(`${where} is ${shown(actual)}, nothing in it is ${shown(wanted)}`);
    rest.splice(at, 1);
  }
}
