// How far a transfer has come, as one line on a terminal that is written over and over.

/** The line is shown once a transfer has taken so long: what is over at once needs none. */
const SHOW_AFTER_MS = 500;

const REDRAW_MS = 200;

/** The rate is that of so many milliseconds past: a mean over all would hide that it stands still. */
const RATE_OVER_MS = 5_000;

const BAR_CELLS = 20;

/** A progress bar on standard error; silent where that is no terminal. */
export class ProgressBar {
  readonly #label: string;
  readonly #total: number | null;
  readonly #startedAt = performance.now();
  /** Time and bytes done, the oldest first. */
  readonly #samples: [number, number][] = [[this.#startedAt, 0]];
  readonly #isShown: boolean;
  #drawnAt = -Infinity;

  /** @param total bytes, null where they are not known */
  constructor(label: string, total: number | null, isWanted: boolean) {
    this.#label = label;
    this.#total = total;
    this.#isShown = isWanted && Deno.stderr.isTerminal();
  }

  get isShown(): boolean {
    return this.#isShown;
  }

  /** So many bytes are done. */
  set(done: number): void {
    const now = performance.now();
    if (!this.#isShown || now - this.#startedAt < SHOW_AFTER_MS) return;
    if (now - this.#drawnAt < REDRAW_MS) return;
    this.#drawnAt = now;
    this.#samples.push([now, done]);
    while (this.#samples.length > 2 && now - this.#samples[0][0] > RATE_OVER_MS) {
      this.#samples.shift();
    }
    const [since, before] = this.#samples[0];
    const rate = (done - before) / (now - since) * 1000;
    write(`\r\x1b[K${progressText(this.#label, done, this.#total, rate)}`);
  }

  /** Takes the line away. */
  clear(): void {
    if (this.#drawnAt > -Infinity) write("\r\x1b[K");
    this.#drawnAt = -Infinity;
  }
}

/** The line, within 79 columns; `rate` is in bytes a second. */
export function progressText(
  label: string,
  done: number,
  total: number | null,
  rate: number,
): string {
  const speed = `${megabytes(rate)} MB/s`;
  if (total === null) return `${label} ${megabytes(done)} MB, ${speed}`;
  const share = total === 0 ? 1 : Math.min(1, done / total);
  const bar = "#".repeat(Math.floor(share * BAR_CELLS)).padEnd(BAR_CELLS, ".");
  const left = rate > 0 ? `, ${duration((total - done) / rate)} left` : "";
  const amount = `${megabytes(done)} of ${megabytes(total)} MB`;
  return `${label} [${bar}] ${Math.floor(share * 100)}% ${amount}, ${speed}${left}`;
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(bytes < 10e6 ? 2 : 1);
}

function duration(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${(whole / 3600).toFixed(1)} h`;
}

function write(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(text));
}
