// What the Node programs share: so many loops that call one after the other, and what they took.

export const PAYLOAD = { n: 1, text: "x".repeat(43) };

/** Awaits `call()` in so many loops and prints what one line of JSON can hold. */
export async function measure(call, inFlight, warmupMs, seconds) {
  const took = [];
  const begin = performance.now() + warmupMs;
  const end = begin + seconds * 1000;
  const loop = async () => {
    for (let sent = performance.now(); sent < end; sent = performance.now()) {
      const answer = await call();
      const now = performance.now();
      if (answer?.text !== PAYLOAD.text) throw new Error(`a wrong answer: ${JSON.stringify(answer)}`);
      if (begin <= now && now < end) took.push(now - sent);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, loop));
  took.sort((one, other) => one - other);
  const at = (share) => (took.length ? took[Math.min(took.length - 1, Math.floor(took.length * share))] * 1000 : null);
  console.log(JSON.stringify({ per_second: took.length / seconds, p50_us: at(0.5), p99_us: at(0.99) }));
}

/** Ends with the harness, however that ends. */
export function endWithParent() {
  process.stdin.resume();
  process.stdin.on("end", () => process.exit(0));
}
