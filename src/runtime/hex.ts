// Ids and keys as callers have them: lower-case hex digits.

import { Id } from "../krpc/id.ts";

/**
 * The id that 40 hex digits are.
 *
 * @throws {TypeError} where they are none
 */
export function parseId(digits: string): Id {
  const id = Id.parse(digits);
  if (id === undefined) throw new TypeError(`not an id: ${digits}`);
  return id;
}

/** Two digits a byte. */
export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
