// Shows the progress of a long operation in one line on the terminal, which is redrawn regularly.

import { shortened } from "./table.ts";
import { stderr, terminalSize } from "./terminal.ts";
import { bytes, count, duration } from "../../web/format.js";

/** The delay before the progress bar appears, so that quick operations show none, and the interval between redraws. */
const SHOW_AFTER_MS = 500, REDRAW_MS = 200;

/** The rate is averaged over this period. An average over the whole operation would hide a stall. */
const RATE_PERIOD_MS = 5_000;

const BAR_CELLS = 20;

/** Cells left empty at the end of the line: two for the echo of Ctrl-C (^C), and one for terminals that wrap early. */
const SPARE_CELLS = 3;

/** A snapshot of an operation's progress. `total` is null if unknown. `rate` is per second. */
export interface Moment {
  readonly label: string;
  readonly done: number;
  readonly total: number | null;
  readonly unit: "bytes" | "things";
  readonly rate: number;
  readonly note?: string;
}

/** A progress bar on standard error, which is shown only if that is a terminal. */
export class ProgressBar {
  readonly isShown: boolean;
  readonly #unit: Moment["unit"];
  #label = "";
  #total: number | null = null;
  #beganAt = performance.now();
  /** Samples: pairs of a time and the amount done by that time, oldest first. */
  #samples: [number, number][] = [];
  #drawnAt = -Infinity;

  constructor(unit: Moment["unit"], isWanted: boolean) {
    this.#unit = unit;
    this.isShown = isWanted && stderr.isTerminal;
  }

  /** Begins a phase of the operation. If the current phase has the same label, only updates the total. */
  phase(label: string, total: number | null): void {
    this.#total = total;
    if (label === this.#label) return;
    this.#label = label;
    this.#samples = [[performance.now(), 0]];
  }

  set(done: number, note?: string): void {
    const now = performance.now();
    if (!this.isShown || now - this.#beganAt < SHOW_AFTER_MS) return;
    if (now - this.#drawnAt < REDRAW_MS) return;
    this.#drawnAt = now;
    this.#samples.push([now, done]);
    while (this.#samples.length > 2 && now - this.#samples[0][0] > RATE_PERIOD_MS) {
      this.#samples.shift();
    }
    const [since, before] = this.#samples[0];
    const rate = now > since ? (done - before) / (now - since) * 1000 : 0;
    const phase = { label: this.#label, total: this.#total, unit: this.#unit };
    const text = progressText({ ...phase, done, rate, note });
    stderr.write(`\r\x1b[K${shortened(text, terminalSize().columns - SPARE_CELLS)}`);
  }

  clear(): void {
    if (this.#drawnAt > -Infinity) stderr.write("\r\x1b[K");
    this.#drawnAt = -Infinity;
  }
}

export function progressText({ label, done, total, unit, rate, note }: Moment): string {
  const amount = unit === "bytes" ? bytes : count;
  const speed = `${amount(rate)}/s`;
  const more = note === undefined ? "" : `, ${note}`;
  if (total === null) return `${label} ${amount(done)}, ${speed}${more}`;
  const share = total === 0 ? 1 : Math.min(1, done / total);
  const bar = "#".repeat(Math.floor(share * BAR_CELLS)).padEnd(BAR_CELLS, ".");
  const remaining = rate > 0 && done < total ? `, ${duration((total - done) / rate)} left` : "";
  const progress = `${amount(done)} of ${amount(total)}`;
  return `${label} [${bar}] ${Math.floor(share * 100)} % ${progress}, ${speed}${remaining}${more}`;
}
