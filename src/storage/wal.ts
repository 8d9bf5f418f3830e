// Whether SQLite's write-ahead log is whole. SQLite reads it up to the first frame whose checksum is wrong, and takes
// what follows for a commit that a crash cut short; damage in the middle would lose what was acknowledged, unsaid.
// Format: https://sqlite.org/fileformat2.html#walformat

const HEADER_BYTES = 32, FRAME_HEADER_BYTES = 24;

/** The lowest bit tells the byte order of the checksums. */
const MAGIC = 0x377f0682;

/**
 * Where a log is damaged: bytes from its start up to which it is good; undefined where it is whole, or ends in a
 * commit that was cut short.
 *
 * Every commit is synced before the next is written. So only the last one can be torn; a wrong frame with a commit
 * and then more of the same log after it has changed since it was written.
 */
export function damageInLog(log: Uint8Array): number | undefined {
  if (log.length < HEADER_BYTES) return undefined;
  const view = new DataView(log.buffer, log.byteOffset, log.length);
  const header = log.subarray(0, HEADER_BYTES);
  // Never synced, so that nothing after it was either.
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

/** SQLite's checksum over 32-bit words, carried on from frame to frame. */
class Checksum {
  #s0 = 0;
  #s1 = 0;

  constructor(readonly view: DataView, readonly isLittle: boolean) {}

  /** `length` is a multiple of 8. */
  add(at: number, length: number): void {
    let s0 = this.#s0, s1 = this.#s1;
    for (const end = at + length; at < end; at += 8) {
      s0 = (s0 + this.view.getInt32(at, this.isLittle) + s1) | 0;
      s1 = (s1 + this.view.getInt32(at + 4, this.isLittle) + s0) | 0;
    }
    this.#s0 = s0, this.#s1 = s1;
  }

  /** Whether it is the one that the log holds at `at`. */
  equals(at: number): boolean {
    return this.view.getInt32(at) === this.#s0 && this.view.getInt32(at + 4) === this.#s1;
  }
}
