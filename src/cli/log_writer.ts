// Writes the lines of the log. Until it ends, the program never waits for the reader of the log.

/** Maximum length of the text that has not been written yet, in UTF-16 code units. A Linux pipe holds another 64 kB. */
const MAX_WAITING = 256 * 1024;

export interface LogWriterOptions {
  /** Writes some of the bytes. Resolves to the number of bytes that were written. */
  readonly write: (bytes: Uint8Array) => Promise<number>;
  /** Returns the line that reports a number of dropped lines. */
  readonly droppedLine: (count: number) => string;
}

/**
 * Writes lines in order, in the background. If the reader of a pipe stops reading, or the disk is full, lines are
 * dropped. Once writing works again, a line reports how many were dropped.
 */
export class LogWriter {
  readonly #options: LogWriterOptions;
  #waiting: string[] = [];
  #waitingLength = 0;
  /** The number of dropped lines that no line has reported yet, and the number of all dropped lines since the start. */
  #dropped = 0;
  #allDropped = 0;
  /** The time at which the current write began; undefined if nothing is being written. */
  #writingSince: number | undefined;
  /** Whether only a part of the previous line could be written. */
  #isTorn = false;
  #writing: Promise<void> | undefined;

  constructor(options: LogWriterOptions) {
    this.#options = options;
  }

  write(line: string): void {
    if (this.#waitingLength + line.length > MAX_WAITING) {
      this.#drop(1);
      return;
    }
    this.#waiting.push(line);
    this.#waitingLength += line.length;
    this.#writing ??= this.#writeAll();
  }

  /** The lines that were dropped, and the seconds for which the reader has taken nothing. */
  get state(): { readonly dropped: number; readonly stalled_s: number } {
    const since = this.#writingSince;
    const stalled_s = since === undefined ? 0 : (performance.now() - since) / 1000;
    return { dropped: this.#allDropped, stalled_s };
  }

  /** Resolves when all lines are written, or after `withinMs`. */
  async flush(withinMs: number): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const timeout = new Promise<void>((resolve) => timer = setTimeout(resolve, withinMs));
    await Promise.race([this.#writing, timeout]);
    clearTimeout(timer);
  }

  async #writeAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      const lines = this.#waiting, dropped = this.#dropped;
      this.#waiting = [];
      this.#waitingLength = 0;
      this.#dropped = 0;
      if (dropped > 0) lines.push(this.#options.droppedLine(dropped));
      try {
        await this.#writeText(lines.join(""));
      } catch {
        this.#dropped += dropped;
        this.#drop(lines.length - (dropped > 0 ? 1 : 0));
      }
    }
    // Don't add an `await` between the last check of the queue and this assignment. Otherwise, a line that is added in
    // between would not start a new write.
    this.#writing = undefined;
  }

  #drop(count: number): void {
    this.#dropped += count;
    this.#allDropped += count;
  }

  async #writeText(text: string): Promise<void> {
    const bytes = new TextEncoder().encode(this.#isTorn ? `\n${text}` : text);
    for (let at = 0; at < bytes.length;) {
      this.#writingSince = performance.now();
      const count = await this.#options.write(bytes.subarray(at)).finally(() =>
        this.#writingSince = undefined
      );
      at += count;
      this.#isTorn = at < bytes.length;
    }
  }
}
