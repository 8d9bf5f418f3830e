// The nodes and addresses that this node ignores: those in the file, and those that the user adds while the node runs.

import { meaningOf, parseDenied } from "../../config/deny_list.ts";
import type { AllowOutcome, DenyOutcome } from "../../node_service.ts";
import type { DeniedNodes } from "../../reports/peers.ts";
import type { Records } from "../records.ts";

/** Maximum number of entries that can be added while the node runs. Longer lists belong in the file of DENY_LIST. */
const MAX_ADDED = 1_000;

/** The name of the record with the added entries, as JSON. */
const RECORD = "denied";

export interface DeniedEntriesOptions {
  /** Keeps the added entries for later runs. */
  readonly records: Records;
  /** Called with all entries after each change. */
  readonly onChange: (entries: readonly string[]) => void;
  /** Whether an entry names this node: its id or its key in lower-case hex. */
  readonly isOwn: (idOrKey: string) => boolean;
}

export class DeniedEntries {
  readonly #options: DeniedEntriesOptions;
  #inFile: readonly string[] = [];
  /** The added entries by their meaning, so that two spellings of an entry are one. */
  readonly #added = new Map<string, string>();

  constructor(options: DeniedEntriesOptions) {
    this.#options = options;
    for (const entry of saved(options.records)) this.#added.set(meaningOf(entry), entry);
  }

  /** Replaces the entries of the file. */
  setFile(entries: readonly string[]): void {
    this.#inFile = entries;
    this.#apply();
  }

  /**
   * Adds an entry, which must be valid. The entry takes effect immediately. Resolves once the entry is on disk, or
   * saving has failed.
   */
  async add(entry: string): Promise<DenyOutcome> {
    const meaning = meaningOf(entry), isNew = !this.#added.has(meaning);
    if (this.#options.isOwn(meaning)) return { outcome: "self" };
    if (isNew && this.#added.size >= MAX_ADDED) return { outcome: "full", limit: MAX_ADDED };
    if (isNew) {
      this.#added.set(meaning, entry);
      if (!await this.#changed()) return { outcome: "unsaved" };
    }
    return { outcome: "denied", isNew };
  }

  /** Removes an added entry, which must be valid. Resolves once the change is on disk, or saving has failed. */
  async remove(entry: string): Promise<AllowOutcome> {
    if (!this.#added.delete(meaningOf(entry))) return "unknown";
    return await this.#changed() ? "allowed" : "unsaved";
  }

  report(): DeniedNodes {
    return { in_file: this.#inFile.length, denied: [...this.#added.values()] };
  }

  /** Applies and saves the entries. Resolves with whether they are on disk. */
  #changed(): Promise<boolean> {
    const entries = JSON.stringify([...this.#added.values()]);
    this.#apply();
    return this.#options.records.set(RECORD, new TextEncoder().encode(entries));
  }

  #apply(): void {
    this.#options.onChange([...this.#inFile, ...this.#added.values()]);
  }
}

/** The valid entries that an earlier run has saved. A damaged record counts as empty. */
function saved(records: Records): string[] {
  for (const [rest, bytes] of records.below(RECORD)) {
    if (rest !== "") continue;
    try {
      const entries: unknown = JSON.parse(new TextDecoder().decode(bytes));
      const isValid = (entry: unknown): entry is string =>
        typeof entry === "string" && typeof parseDenied(entry) !== "string";
      return Array.isArray(entries) ? entries.filter(isValid).slice(0, MAX_ADDED) : [];
    } catch {
      return [];
    }
  }
  return [];
}
