/** What data of the scenarios stands for, and whether an answer is as expected. */
export class Mismatch extends Error {}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value) && !isBytes(value);
const isBytes = (value) => value instanceof Uint8Array;

/** `$name` in texts, and what JSON cannot say. */
export function fill(value, saved) {
  if (typeof value === "string") {
    return Object.entries(saved).reduce((text, [name, more]) => text.replaceAll(`$${name}`, more), value);
  }
  if (Array.isArray(value)) return value.map((item) => fill(item, saved));
  if (!isObject(value)) return value;
  if ("$bytes" in value) return Uint8Array.from(value.$bytes);
  if ("$pattern" in value) return new Uint8Array(value.$pattern).map((_, at) => at % 251);
  if ("$repeat" in value) return value.$repeat[1].repeat(value.$repeat[0]);
  if ("$nan" in value) return NaN;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [fill(key, saved), fill(item, saved)]));
}

/** `loose`: an object may have more keys. */
export function expect(found, wanted, loose, path = ".") {
  if (isObject(wanted) && Object.keys(wanted)[0]?.startsWith("$")) return special(found, wanted, path);
  if (isObject(wanted) && isObject(found)) {
    const keys = (value) => Object.keys(value).sort().join(", ");
    if (!loose && keys(found) !== keys(wanted)) {
      throw new Mismatch(`${path} has the keys ${keys(found)}, expected ${keys(wanted)}`);
    }
    for (const [key, item] of Object.entries(wanted)) expect(found[key] ?? null, item, loose, `${path}.${key}`);
    return;
  }
  if (Array.isArray(wanted) && Array.isArray(found) && wanted.length === found.length) {
    wanted.forEach((item, at) => expect(found[at], item, loose, `${path}[${at}]`));
    return;
  }
  const same =
    isBytes(wanted) && isBytes(found) ? Buffer.compare(wanted, found) === 0 : Object.is(found, wanted);
  if (!same) throw new Mismatch(`${path} is ${shown(found)}, expected ${shown(wanted)}`);
}

function special(found, wanted, path) {
  const [[word, operand]] = Object.entries(wanted);
  const judges = {
    $type: () => typeof found === operand,
    $between: () => typeof found === "number" && operand[0] <= found && found <= operand[1],
    $has: () => Array.isArray(found) && found.includes(operand),
    $contains: () => typeof found === "string" && found.includes(operand),
  };
  if (!judges[word]()) throw new Mismatch(`${path} is ${shown(found)}, expected ${JSON.stringify(wanted)}`);
}

export function shown(value) {
  if (isBytes(value)) return `${value.length} bytes, ${[...value.subarray(0, 8)]}…`;
  const text = JSON.stringify(value) ?? String(value);
  return text.length < 300 ? text : `${text.slice(0, 300)}…`;
}
