// Ids and hashes as they are given on the command line: whole, or shortened as a table shows them.

import { UserError } from "./errors.ts";
import { SHORT_ID_DIGITS } from "./table.ts";

/** Fewer digits name too many. */
export const LEAST_DIGITS = 4;

/** Where a shortened id is looked for. */
export interface Known {
  /** What it is the id of, for messages. */
  readonly what: string;
  ids(): AsyncIterable<string>;
}

/** Whether it is an id or hash as a whole: 40 hex digits. */
export function isWholeId(text: string): boolean {
  return /^[0-9a-fA-F]{40}$/.test(text);
}

/** An id as a whole, in lower case. `others` says what else would have done. */
export function checkId(text: string, others = ""): string {
  if (isWholeId(text)) return text.toLowerCase();
  throw new UserError(
    `${JSON.stringify(text)} is not an id: it takes 40 hex digits${others}`,
    true,
  );
}

/**
 * The id that is meant: itself, or the only known one that begins like it.
 *
 * @throws {UserError} where it is none, or of none or several of those
 */
export async function wholeId(text: string, known: Known): Promise<string> {
  const short = /^([0-9a-fA-F]*)…?$/.exec(text)?.[1].toLowerCase();
  if (short === undefined || short.length < LEAST_DIGITS || short.length >= 40) {
    return checkId(text, `, or the first ${LEAST_DIGITS} or more of one that this node knows`);
  }
  const matching = new Set<string>();
  for await (const id of known.ids()) if (id.startsWith(short)) matching.add(id);
  const [only] = matching;
  if (matching.size === 1) return only;
  throw new UserError(
    matching.size === 0
      ? `no ${known.what} begins with ${short}: give all 40 hex digits`
      : `${short} is the beginning of more than one ${known.what}: give more digits, ` +
        `${SHORT_ID_DIGITS} are enough`,
  );
}
