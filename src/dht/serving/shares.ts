// A table filled by strangers, in which no source can crowd out the other sources.

/**
 * The entries of many sources, oldest first. A full table evicts the oldest entry of the source
 * with the most entries. A source that has fewer entries than another one never loses any.
 */
export class Shares<T> {
  readonly #bySource = new Map<string, Set<T>>();
  /** The sources that have `n` entries are in `#byCount[n]`. The last set is not empty. */
  readonly #byCount: Set<string>[] = [new Set()];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The number of entries of this source. */
  countOf(source: string): number {
    return this.#bySource.get(source)?.size ?? 0;
  }

  /** The oldest entry of this source. */
  oldestOf(source: string): T | undefined {
    return this.#bySource.get(source)?.values().next().value;
  }

  /**
   * The oldest entry of the source with the most entries. If several sources have that many
   * entries, the source that reached this number first is chosen.
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
