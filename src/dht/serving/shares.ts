// A table that strangers fill, and in which no source can displace the entries of smaller sources.

/**
 * The entries of many sources, oldest first. A full table evicts the oldest entry of the source with the most entries,
 * so a source never loses entries to a source with more.
 */
export class Shares<T> {
  readonly #bySource = new Map<string, Set<T>>();
  /** `#byCount[n]` contains the sources that have `n` entries. The last set is not empty. */
  readonly #byCount: Set<string>[] = [new Set()];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Returns the number of entries of this source. */
  countOf(source: string): number {
    return this.#bySource.get(source)?.size ?? 0;
  }

  /** Returns the oldest entry of this source. */
  oldestOf(source: string): T | undefined {
    return this.#bySource.get(source)?.values().next().value;
  }

  /**
   * Returns the oldest entry of the source with the most entries. If several sources have this number of entries, the
   * source that reached it first is chosen.
   */
  oldestOfLargest(): T | undefined {
    const largest = this.#byCount[this.#byCount.length - 1].values().next().value;
    return largest === undefined ? undefined : this.oldestOf(largest);
  }

  add(source: string, entry: T): void {
    let entries = this.#bySource.get(source);
    if (entries === undefined) this.#bySource.set(source, entries = new Set());
    const before = entries.size;
    entries.add(entry);
    this.#move(source, before, entries.size);
  }

  remove(source: string, entry: T): void {
    const entries = this.#bySource.get(source);
    if (entries === undefined) return;
    const before = entries.size;
    entries.delete(entry);
    if (entries.size === 0) this.#bySource.delete(source);
    this.#move(source, before, entries.size);
  }

  #move(source: string, from: number, to: number): void {
    this.#size += to - from;
    if (from > 0) this.#byCount[from].delete(source);
    if (to > 0) (this.#byCount[to] ??= new Set()).add(source);
    while (this.#byCount.length > 1 && this.#byCount[this.#byCount.length - 1].size === 0) {
      this.#byCount.pop();
    }
  }
}
