// Version numbers of mutable items (BEP 44): integers from 0 to 2^63 - 1.

/**
 * A version number: a number if a double holds it exactly (up to 2^53 - 1), otherwise a bigint. Each version number has
 * only one representation, so `===`, `<` and `>` compare any two version numbers correctly.
 */
export type Seq = number | bigint;

/** The largest version number: the largest signed 64-bit integer. */
export const MAX_SEQ = 2n ** 63n - 1n;

/**
 * Parses decimal digits. Returns undefined if there are other characters or leading zeros, or if the number is too
 * large.
 */
export function parseSeq(digits: string): Seq | undefined {
  if (!/^(0|[1-9]\d{0,18})$/.test(digits)) return undefined;
  const number = Number(digits);
  if (number <= Number.MAX_SAFE_INTEGER) return number;
  const seq = BigInt(digits);
  return seq <= MAX_SEQ ? seq : undefined;
}

export function isSeq(value: unknown): value is Seq {
  if (typeof value === "bigint") return value > Number.MAX_SAFE_INTEGER && value <= MAX_SEQ;
  return Number.isSafeInteger(value) && (value as number) >= 0 && !Object.is(value, -0);
}

/** Returns the version number after `seq`; undefined if `seq` is the largest. */
export function nextSeq(seq: Seq): Seq | undefined {
  if (seq < Number.MAX_SAFE_INTEGER) return Number(seq) + 1;
  return seq < MAX_SEQ ? BigInt(seq) + 1n : undefined;
}

/** Returns the larger of two version numbers. `Math.max` does not accept bigints. */
export function maxSeq(x: Seq, y: Seq): Seq {
  return x > y ? x : y;
}
