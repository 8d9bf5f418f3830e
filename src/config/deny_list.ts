// The deny list: a file with one address, CIDR, node id or public key per line, and comments after #.

import { type AddressRange, network } from "../krpc/address_range.ts";
import { Id } from "../krpc/id.ts";
import { parseRange } from "./addresses.ts";
import { quote } from "./text.ts";

/** The maximum size of the file in bytes: about 200,000 entries. */
export const MAX_DENY_LIST_BYTES = 4 * 1024 * 1024;

/** An entry of the list: an address range, or the lower-case hex digits of a node id or public key. */
export type Denied =
  | AddressRange
  | { readonly kind: "id"; readonly id: string }
  | { readonly kind: "key"; readonly key: string };

/** Parses an entry. For a bad entry, returns an error message. */
export function parseDenied(entry: string): Denied | string {
  if (/^[0-9a-fA-F]{64}$/.test(entry)) return { kind: "key", key: entry.toLowerCase() };
  const id = Id.parse(entry.toLowerCase());
  if (id !== undefined) return { kind: "id", id: `${id}` };
  const range = parseRange(entry);
  return typeof range === "string" ? `${quote(entry)} ${range}, nor a node id or key` : range;
}

/**
 * Returns a text that is the same for all entries with the same meaning, such as an address and its
 * /32. The entry must be valid.
 */
export function meaningOf(entry: string): string {
  const parsed = parseDenied(entry);
  if (typeof parsed === "string") throw new RangeError(parsed);
  if (parsed.kind === "id") return parsed.id;
  if (parsed.kind === "key") return parsed.key;
  const { address, prefix } = parsed;
  return `IPv${address.family} ${network(address, prefix)}/${prefix}`;
}

/** Returns the entries of the file, or an error message about the first bad line. */
export function parseDenyList(text: string): readonly string[] | string {
  const entries = new Set<string>();
  for (const [i, line] of text.split("\n").entries()) {
    const entry = entryOf(line);
    if (entry === "") continue;
    const parsed = parseDenied(entry);
    if (typeof parsed === "string") return `line ${i + 1}: ${parsed}`;
    entries.add(entry);
  }
  return [...entries];
}

/** Returns the entry in a line of the file; empty text if the line has no entry. */
export function entryOf(line: string): string {
  return line.split("#")[0].trim();
}
