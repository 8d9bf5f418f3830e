// Detects damage in SQLite's write-ahead log. SQLite reads the log only up to the first wrong checksum, because a crash
// may have cut the last commit short. If the middle of the log were damaged, SQLite would silently lose acknowledged
// values. Format: https://sqlite.org/fileformat2.html#walformat

const HEADER_BYTES = 32, FRAME_HEADER_BYTES = 24;

/** The magic number of a write-ahead log. Its lowest bit gives the byte order of the checksums. */
const MAGIC = 0x377f0682;

/**
 * Returns the number of good bytes before the damage. Returns undefined if the log is intact, or if only its last
 * commit was cut short.
 *
 * Every commit is synced before the next commit is written, so a crash can cut short only the last one. If a commit and
 * further frames of the same log follow a bad frame, that frame was damaged after it had been written.
 */
export function damageInLog(log: Uint8Array): number | undefined {
  if (log.length < HEADER_BYTES) return undefined;
  const view = new DataView(log.buffer, log.byteOffset, log.length);
  const header = log.subarray(0, HEADER_BYTES);
  // If the header was never synced, nothing after it was synced either.
  if (header.every((byte) => byte === 0)) return undefined;
  const magic = view.getUint32(0);
  const isLittle = (magic & 1) === 0;
  const sum = new Checksum(view, isLittle);
  sum.add(0, 24);
  if ((magic & ~1) !== MAGIC || !sum.equals(24)) return 0;

  const frameBytes = FRAME_HEADER_BYTES + view.getUint32(8);
  const isOfThisLog = (at: number) =>
    view.getUint32(at + 8) === view.getUint32(16) && view.getUint32(at + 12) === view.getUint32(20);
  const isCommit = (at: number) => view.getUint32(at + 4) !== 0;
  let at = HEADER_BYTES;
  for (; at + frameBytes <= log.length && isOfThisLog(at); at += frameBytes) {
    sum.add(at, 8);
    sum.add(at + FRAME_HEADER_BYTES, frameBytes - FRAME_HEADER_BYTES);
    if (!sum.equals(at + 16)) break;
  }
  let isAcknowledged = false;
  for (let later = at; later + frameBytes <= log.length; later += frameBytes) {
    if (!isOfThisLog(later)) continue;
    if (isAcknowledged) return at;
    isAcknowledged = isCommit(later);
  }
  return undefined;
}

/** SQLite's running checksum over 32-bit words. */
class Checksum {
  #s0 = 0;
  #s1 = 0;

  constructor(readonly view: DataView, readonly isLittle: boolean) {}

  /** Adds `length` bytes from offset `at`. `length` must be a multiple of 8. */
  add(at: number, length: number): void {
    let s0 = this.#s0, s1 = this.#s1;
    for (const end = at + length; at < end; at += 8) {
      s0 = (s0 + this.view.getInt32(at, this.isLittle) + s1) | 0;
      s1 = (s1 + this.view.getInt32(at + 4, this.isLittle) + s0) | 0;
    }
    this.#s0 = s0, this.#s1 = s1;
  }

  /** Whether the log contains this checksum at offset `at`. */
  equals(at: number): boolean {
    return this.view.getInt32(at) === this.#s0 && this.view.getInt32(at + 4) === this.#s1;
  }
}
