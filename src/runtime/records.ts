// Small records that the node keeps in its database, such as samples of its figures.

/**
 * The records, by their names. If the node has no disk, the records last only as long as the
 * process.
 */
export class Records {
  readonly #records: Map<string, Uint8Array>;

  /**
   * `save` writes a record to the disk; null deletes it. Resolves with true once the change is on disk, or with false
   * if writing failed.
   */
  constructor(
    saved: ReadonlyMap<string, Uint8Array> = new Map(),
    private readonly save: (name: string, bytes: Uint8Array | null) => Promise<boolean> = () =>
      Promise.resolve(true),
  ) {
    this.#records = new Map(saved);
  }

  /** The records whose names start with `prefix`, each with its name after the prefix. */
  *below(prefix: string): Generator<[name: string, bytes: Uint8Array]> {
    for (const [name, bytes] of this.#records) {
      if (name.startsWith(prefix)) yield [name.slice(prefix.length), bytes];
    }
  }

  /** Saves a record. Resolves with true once the record is on disk, or with false if writing failed. Never rejects. */
  set(name: string, bytes: Uint8Array): Promise<boolean> {
    this.#records.set(name, bytes);
    return this.save(name, bytes);
  }

  delete(name: string): void {
    if (this.#records.delete(name)) void this.save(name, null);
  }
}
