// Parses ids and hashes on the command line. For ids and hashes that the node knows, the first few digits are enough.

import { UserError } from "../terminal/errors.ts";
import { SHORT_ID_DIGITS } from "../terminal/terminal.ts";

/** The minimum number of digits in a shortened id. Fewer digits would match too many ids. */
export const MIN_DIGITS = 4;

/** Whether the text is a complete id or hash. */
export const isWholeId = (text: string) => /^[0-9a-fA-F]{40}$/.test(text);

/** Returns `text` in lower case if it is a complete id. The error for other text ends with the hint `alternative`. */
export function checkId(text: string, alternative = ""): string {
  if (isWholeId(text)) return text.toLowerCase();
  throw new UserError(
    `${JSON.stringify(text)} is not an id: give 40 hex digits${alternative}`,
    true,
  );
}

/** Returns the id that `text` names: `text` itself if it is complete, else the only candidate that begins with it. */
export async function wholeId(
  text: string,
  noun: string,
  candidates: () => AsyncIterable<string>,
): Promise<string> {
  const prefix = /^([0-9a-fA-F]*)…?$/.exec(text)?.[1].toLowerCase();
  if (prefix === undefined || prefix.length < MIN_DIGITS || prefix.length >= 40) {
    return checkId(text, `, or the first ${MIN_DIGITS} or more of one that this node knows`);
  }
  const matching = new Set<string>();
  for await (const id of candidates()) if (id.startsWith(prefix)) matching.add(id);
  const [first] = matching;
  if (matching.size === 1) return first;
  throw new UserError(
    matching.size === 0
      ? `no ${noun} begins with ${prefix}: give all 40 hex digits`
      : `more than one ${noun} begins with ${prefix}: give more digits; ` +
        `${SHORT_ID_DIGITS} are enough`,
  );
}
