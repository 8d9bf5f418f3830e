// Writes and reads tar archives (POSIX ustar) with a few regular files.

/** Block size in bytes. Tar pads headers and file contents to a multiple of this size. */
const BLOCK_BYTES = 512;

/** The number of bytes that are copied at a time. */
const CHUNK_BYTES = 1 << 18;

/**
 * Sizes below this, 8 GiB, are written in octal digits. Larger ones are written in binary, as GNU
 * tar does.
 */
const MAX_OCTAL_SIZE = 8 ** 11;

/** The bit that is set if a header contains a size in binary instead of octal digits. */
const BINARY = 0x80;

/** The offset and length in bytes of each header field that is read or written. */
const NAME = [0, 100], MODE = [100, 8], UID = [108, 8], GID = [116, 8], SIZE = [124, 12];
const MTIME = [136, 12], CHECKSUM = [148, 8], TYPE = 156, MAGIC = 257;

type Writer = { writeSync(bytes: Uint8Array): number };
/** Writes the bytes of an archive without blocking the thread, because a write to a pipe may take long. */
export type AsyncWriter = { write(bytes: Uint8Array): Promise<number> };
type Reader = { readSync(bytes: Uint8Array): number | null };

/** Thrown for bytes that are not an archive. */
export class TarError extends Error {
  override readonly name = "TarError";
}

/** A file to put into an archive. */
export interface TarEntry {
  readonly name: string;
  /** The size of `content` in bytes. */
  readonly size: number;
  readonly content: Reader;
}

/** Writes one file of an archive. Call `endTar` after the last one. */
export async function writeEntry(
  to: AsyncWriter,
  { name, size, content }: TarEntry,
  mtimeS: number,
): Promise<void> {
  await writeWhole(to, headerOf(name, size, mtimeS));
  const chunk = new Uint8Array(CHUNK_BYTES);
  let left = size;
  while (left > 0) {
    const read = content.readSync(chunk.subarray(0, Math.min(left, chunk.length)));
    if (read === null) throw new TarError(`${name} has become shorter`);
    await writeWhole(to, chunk.subarray(0, read));
    left -= read;
  }
  await writeWhole(to, new Uint8Array(paddingOf(size)));
}

export async function endTar(to: AsyncWriter): Promise<void> {
  await writeWhole(to, new Uint8Array(2 * BLOCK_BYTES));
}

/** A file in an archive. Read its content before the next entry. */
export interface ReadEntry {
  readonly name: string;
  readonly size: number;
  /** Writes the whole content of the file to `to`. */
  copyTo(to: Writer): void;
}

/**
 * Yields the files of an archive, and skips content that is not read. @throws {TarError} if the archive is malformed
 */
export function* readEntries(from: Reader): Generator<ReadEntry> {
  for (let isFirst = true;; isFirst = false) {
    const header = readBlock(from, isFirst ? "it is no backup" : "its end is missing");
    if (header.every((byte) => byte === 0)) return;
    const { name, size } = parseHeader(header);
    let isRead = false;
    const copyTo = (to: Writer) => {
      isRead = true;
      copy(from, to, size);
    };
    yield { name, size, copyTo };
    if (!isRead) copy(from, { writeSync: (bytes) => bytes.length }, size);
  }
}

function copy(from: Reader, to: Writer, size: number): void {
  const chunk = new Uint8Array(CHUNK_BYTES);
  let left = size;
  while (left > 0) {
    const read = from.readSync(chunk.subarray(0, Math.min(left, chunk.length)));
    if (read === null) throw new TarError("it was cut off");
    writeAll(to, chunk.subarray(0, read));
    left -= read;
  }
  readExactly(from, new Uint8Array(paddingOf(size)), "it was cut off");
}

function headerOf(name: string, size: number, mtimeS: number): Uint8Array {
  const header = new Uint8Array(BLOCK_BYTES);
  const put = (offset: number, text: string) => {
    header.set(new TextEncoder().encode(text), offset);
  };
  put(NAME[0], name);
  for (const [[offset, length], value] of [[MODE, 0o600], [UID, 0], [GID, 0]] as const) {
    put(offset, octal(value, length));
  }
  put(MTIME[0], octal(mtimeS, MTIME[1]));
  if (size < MAX_OCTAL_SIZE) put(SIZE[0], octal(size, SIZE[1]));
  else {
    header[SIZE[0]] = BINARY;
    new DataView(header.buffer).setBigUint64(SIZE[0] + 4, BigInt(size));
  }
  header[TYPE] = "0".charCodeAt(0);
  put(MAGIC, "ustar\x0000");
  put(CHECKSUM[0], `${checksumOf(header).toString(8).padStart(6, "0")}\0 `);
  return header;
}

function octal(value: number, length: number): string {
  return Math.floor(value).toString(8).padStart(length - 1, "0");
}

function parseHeader(header: Uint8Array): { name: string; size: number } {
  const field = ([offset, length]: readonly number[]) =>
    new TextDecoder().decode(header.subarray(offset, offset + length)).split("\0")[0].trim();
  if (parseInt(field(CHECKSUM), 8) !== checksumOf(header)) throw new TarError("it is no archive");
  if (header[TYPE] !== "0".charCodeAt(0)) throw new TarError("it contains more than plain files");
  const size = header[SIZE[0]] === BINARY
    ? Number(new DataView(header.buffer).getBigUint64(SIZE[0] + 4))
    : parseInt(field(SIZE), 8);
  if (!Number.isSafeInteger(size) || size < 0) throw new TarError("a size in it is wrong");
  return { name: field(NAME), size };
}

/** The sum of all bytes of a header, in which the checksum's own bytes count as spaces. */
function checksumOf(header: Uint8Array): number {
  const [start, length] = CHECKSUM;
  return header.reduce(
    (sum, byte, at) => sum + (at >= start && at < start + length ? 0x20 : byte),
    0,
  );
}

function paddingOf(size: number): number {
  return (BLOCK_BYTES - size % BLOCK_BYTES) % BLOCK_BYTES;
}

function readBlock(from: Reader, problem: string): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(BLOCK_BYTES);
  readExactly(from, block, problem);
  return block;
}

function readExactly(from: Reader, bytes: Uint8Array, problem: string): void {
  for (let at = 0; at < bytes.length;) {
    const read = from.readSync(bytes.subarray(at));
    if (read === null) throw new TarError(problem);
    at += read;
  }
}

async function writeWhole(to: AsyncWriter, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await to.write(bytes.subarray(at));
}

function writeAll(to: Writer, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += to.writeSync(bytes.subarray(at));
}
