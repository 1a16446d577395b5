/** What the worker thinks: plain functions, no bus. */
export function greet(name: string): string {
  return `hello ${name}`;
}
