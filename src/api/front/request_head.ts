// Tracks the request heads on a connection, byte by byte, to limit the length and duration of each.

const CR = 0x0d, LF = 0x0a;

/** Returns a new array of the bytes of `x`, followed by those of `y`. */
export function joined(x: Uint8Array, y: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(x.length + y.length);
  both.set(x);
  both.set(y, x.length);
  return both;
}

/** The request head that is arriving or expected next. */
export class RequestHead {
  /**
   * The position of the next byte: before the head, inside one of its lines, after the end of a line, or after the
   * complete head. "lost" means that the start of the next head is unknown, because the next bytes may still belong to
   * the body of a request that was answered early.
   */
  #position: "before" | "inside" | "line end" | "complete" | "lost" = "before";
  bytes = 0;
  /** The number of bytes that arrived after the end of this head. */
  bytesAfter = 0;
  /** The time at which the first byte of this head arrived; null before that. */
  since: number | null = null;

  get isComplete(): boolean {
    return this.#position === "complete";
  }

  /**
   * Reads `bytes` up to the end of the head. Returns the length of the head so far, or 0 if `bytes` contains no part of
   * the head.
   */
  read(bytes: Uint8Array, now: () => number): number {
    if (this.#position === "lost") return 0;
    if (this.#position === "complete") {
      this.bytesAfter += bytes.length;
      return 0;
    }
    for (const [i, byte] of bytes.entries()) {
      this.bytes++;
      if (byte === LF) {
        if (this.#position === "line end") {
          this.#position = "complete";
          this.bytesAfter = bytes.length - i - 1;
          break;
        }
        if (this.#position === "inside") this.#position = "line end";
      } else if (byte !== CR) {
        this.#position = "inside";
        this.since ??= now();
      }
    }
    return this.bytes;
  }

  /** Records that the next bytes begin a new head. */
  expect(): void {
    this.#position = "before";
    this.bytes = 0;
    this.bytesAfter = 0;
    this.since = null;
  }

  /** Records that we don't know where the next head starts. */
  lose(): void {
    this.#position = "lost";
  }

  /** Restarts the time limit of a head that has begun to arrive. */
  restart(now: number): void {
    if (this.since !== null) this.since = now;
  }
}
