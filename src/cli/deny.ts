// `dmnode deny`: shows and changes the deny list, a file that a running node reads again at SIGHUP.

import {
  entryOf,
  MAX_DENY_LIST_BYTES,
  meaningOf,
  parseDenied,
  parseDenyList,
} from "../config/deny_list.ts";
import { quote } from "../config/text.ts";
import type { DeniedNodes } from "../reports/peers.ts";
import { plural } from "../web/format.js";
import { Api } from "./client/api_client.ts";
import { variables } from "./settings.ts";
import { explaining, UserError } from "./terminal/errors.ts";
import { print, printJson } from "./terminal/terminal.ts";

interface DenyFlags {
  /** The URL of a running node's API, whose own entries are shown or changed instead of a file. */
  readonly api?: string;
  readonly denyList?: string;
  readonly envFile?: string;
  readonly remove?: boolean;
  readonly json?: boolean;
}

/**
 * Without entries, prints the list. Otherwise, adds the given entries if they are missing, or
 * removes all entries with the same meaning.
 */
export async function deny(entries: readonly string[], flags: DenyFlags): Promise<void> {
  if (flags.api !== undefined) return await denyAtNode(entries, flags);
  const { remove = false, json = false } = flags;
  const path = flags.denyList ?? variables(flags.envFile)("DENY_LIST")?.text;
  if (path === undefined) {
    throw new UserError("which file? Set DENY_LIST, or give --deny-list FILE", true);
  }
  requireValid(entries);
  const text = readList(path);
  const before = parseDenyList(text);
  if (typeof before === "string") throw new UserError(`${path}: ${before}`);
  if (entries.length === 0) {
    if (remove) throw new UserError("--remove: give the entries to remove", true);
    if (json) return printJson({ file: path, entries: before });
    return before.forEach((entry) => print(entry));
  }
  const listed = new Set(before.map(meaningOf));
  const missing = remove ? entries.find((entry) => !listed.has(meaningOf(entry))) : undefined;
  if (missing !== undefined) {
    throw new UserError(`${path} has no entry ${quote(missing)}; nothing was changed`);
  }
  const given = new Map(entries.map((entry) => [meaningOf(entry), entry]));
  const changed = [...given].filter(([meaning]) => listed.has(meaning) === remove)
    .map(([, entry]) => entry);
  if (changed.length > 0) {
    const kept = text.split("\n").filter((line) => {
      const entry = entryOf(line);
      return entry === "" || !given.has(meaningOf(entry));
    });
    const after = remove ? kept.join("\n") : `${withNewline(text)}${changed.join("\n")}\n`;
    if (after.length > MAX_DENY_LIST_BYTES) throw new UserError(`${path} would be too long`);
    // Overwrite the file instead of replacing it, because a running node keeps it open.
    explaining(`${path} can't be written`, () => Deno.writeTextFileSync(path, after));
  }
  if (json) return printJson({ file: path, changed });
  const done = remove ? "removed from" : "added to";
  print(`${plural(changed.length, "entry", "entries")} ${done} ${path}`);
  if (changed.length > 0) print("A running node reads the list again at SIGHUP");
}

function requireValid(entries: readonly string[]): void {
  for (const entry of entries) {
    const parsed = parseDenied(entry);
    if (typeof parsed === "string") throw new UserError(parsed, true);
  }
}

/** Shows or changes the entries that a running node keeps itself. */
async function denyAtNode(
  entries: readonly string[],
  { api: url, envFile, denyList, remove = false, json = false }: DenyFlags,
): Promise<void> {
  if (denyList !== undefined) throw new UserError("give either --api or --deny-list", true);
  if (remove && entries.length === 0) {
    throw new UserError("--remove: give the entries to remove", true);
  }
  requireValid(entries);
  const api = new Api({ api: url, envFile });
  for (const entry of entries) {
    const method = remove ? "DELETE" : "POST";
    await api.request(api.at("/network/denied", { entry }), { method }, (r) => r.text());
  }
  const report = await api.get<DeniedNodes>("/network/denied", "denied");
  if (json) return printJson(report);
  report.denied.forEach((entry) => print(entry));
  if (report.in_file > 0) print(`and ${plural(report.in_file, "entry", "entries")} in its file`);
}

function readList(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    return explaining(`${path} can't be read`, () => {
      throw error;
    });
  }
}

function withNewline(text: string): string {
  return text === "" || text.endsWith("\n") ? text : `${text}\n`;
}
