/**
 * Assertions that stay on in production. A broken assertion is a bug of ours, never bad input:
 * bad input is a verdict (ledger, consensus) or a coded error (`errors.ts`).
 */
export class AssertionError extends Error {
  override name = "AssertionError";
}

/** Ends the caller when `condition` is false: the state can no longer be trusted. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** Marks a branch that the types rule out, so that a new variant fails to compile here. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable: ${JSON.stringify(value)}`);
}
