// Errors for bad settings, and functions that quote users' text in messages.

/** Thrown for a bad setting. The message is one line that names the variable, the value and what is allowed. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";

  constructor(message: string) {
    super(withoutKeys(message));
  }
}

/** Splits a comma-separated list. Ignores empty entries. */
export function splitList(text: string): string[] {
  return text.split(",").map((entry) => entry.trim()).filter((entry) => entry !== "");
}

/**
 * Characters that JSON text may contain unescaped, although they end a line, hide or reverse text,
 * or control a terminal.
 */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/**
 * Redacts network keys in text, even mistyped keys. A user may pass a key instead of a file name, and the key must not
 * appear in a log.
 */
function withoutKeys(text: string): string {
  return text.replace(/dmkey[a-z0-9]{8,}/gi, "dmkey…");
}

/** Formats text as one printable line of limited length, without network keys. */
export function quote(given: string): string {
  // Replace keys before the text is cut, because the start of a key is secret too.
  const text = withoutKeys(given);
  return JSON.stringify(text.length > 80 ? text.slice(0, 79) + "…" : text)
    .replace(UNPRINTABLE, (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`);
}

/**
 * Whether `limit` edits or fewer turn `a` into `b`. An edit inserts, deletes or replaces a character, or swaps two
 * neighbours.
 */
export function withinEdits(a: string, b: string, limit: number): boolean {
  if (Math.abs(a.length - b.length) > limit) return false;
  const rows = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    rows[i] = [i];
    for (let j = 1; j <= b.length; j++) {
      const substituted = rows[i - 1][j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
        ? rows[i - 2][j - 2] + 1
        : Infinity;
      rows[i][j] = Math.min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, substituted, swapped);
    }
  }
  return rows[a.length][b.length] <= limit;
}
