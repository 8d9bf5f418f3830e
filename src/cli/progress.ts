// How far long work has come, as one line on a terminal that is written over and over.

import { shortened } from "./table.ts";
import { stderr, terminalSize } from "./terminal.ts";
import { bytes, count, duration } from "./units.ts";

/** The line is shown once work has taken so long: what is over at once needs none. */
const SHOW_AFTER_MS = 500;

const REDRAW_MS = 200;

/** The rate is that of so many milliseconds past: a mean over all would hide that it stands still. */
const RATE_OVER_MS = 5_000;

const BAR_CELLS = 20;

/** The terminal echoes Ctrl-C as ^C behind the line, and in the last column some begin a new line. */
const SPARE_CELLS = 3;

/** What is counted. */
export type Unit = "bytes" | "things";

/** One moment of the work; `total` is null where it is not known, `rate` is a second's. */
export interface Moment {
  readonly label: string;
  readonly done: number;
  readonly total: number | null;
  readonly unit: Unit;
  readonly rate: number;
  /** What else there is to say. */
  readonly note?: string;
}

/** A progress bar on standard error; silent where that is no terminal. */
export class ProgressBar {
  readonly isShown: boolean;
  readonly #unit: Unit;
  #label = "";
  #total: number | null = null;
  #beganAt = performance.now();
  /** Time and amount done, the oldest first. */
  #samples: [number, number][] = [];
  #drawnAt = -Infinity;

  constructor(unit: Unit, isWanted: boolean) {
    this.#unit = unit;
    this.isShown = isWanted && stderr.isTerminal;
  }

  /** Begins a phase of the work; where it is the one under way, nothing changes but its total. */
  phase(label: string, total: number | null): void {
    this.#total = total;
    if (label === this.#label) return;
    this.#label = label;
    this.#samples = [[performance.now(), 0]];
  }

  /** So much of the phase is done. */
  set(done: number, note?: string): void {
    const now = performance.now();
    if (!this.isShown || now - this.#beganAt < SHOW_AFTER_MS) return;
    if (now - this.#drawnAt < REDRAW_MS) return;
    this.#drawnAt = now;
    this.#samples.push([now, done]);
    while (this.#samples.length > 2 && now - this.#samples[0][0] > RATE_OVER_MS) {
      this.#samples.shift();
    }
    const [since, before] = this.#samples[0];
    const rate = now > since ? (done - before) / (now - since) * 1000 : 0;
    const text = progressText({
      label: this.#label,
      done,
      total: this.#total,
      unit: this.#unit,
      rate,
      note,
    });
    stderr.write(`\r\x1b[K${shortened(text, terminalSize().columns - SPARE_CELLS)}`);
  }

  /** Takes the line away. */
  clear(): void {
    if (this.#drawnAt > -Infinity) stderr.write("\r\x1b[K");
    this.#drawnAt = -Infinity;
  }
}

/** The line. */
export function progressText({ label, done, total, unit, rate, note }: Moment): string {
  const amount = unit === "bytes" ? bytes : count;
  const speed = `${amount(rate)}/s`;
  const more = note === undefined ? "" : `, ${note}`;
  if (total === null) return `${label} ${amount(done)}, ${speed}${more}`;
  const share = total === 0 ? 1 : Math.min(1, done / total);
  const bar = "#".repeat(Math.floor(share * BAR_CELLS)).padEnd(BAR_CELLS, ".");
  const left = rate > 0 && done < total ? `, ${duration((total - done) / rate)} left` : "";
  const progress = `${amount(done)} of ${amount(total)}`;
  return `${label} [${bar}] ${Math.floor(share * 100)} % ${progress}, ${speed}${left}${more}`;
}
