// Detects damage in SQLite's write-ahead log. SQLite reads the log up to the first wrong checksum
// and ignores the rest, because a crash may have cut the last commit short. Damage in the middle of
// the log would therefore make SQLite lose acknowledged values unnoticed. Format:
// https://sqlite.org/fileformat2.html#walformat

const HEADER_BYTES = 32, FRAME_HEADER_BYTES = 24;

/** The magic number of a log. Its lowest bit is the byte order of the checksums. */
const MAGIC = 0x377f0682;

/**
 * The number of good bytes before the damage; undefined if the log is intact, or ends in a commit that was cut short.
 *
 * Every commit is synced before the next one is written, so a crash can only cut the last one
 * short. If a commit and further frames of the same log follow a wrong frame, that frame was
 * damaged after it had been written.
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

  /** Adds `length` bytes, a multiple of 8. */
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
