// Depth-first search over the choices of a program. It runs the program again from the start for each schedule.

/** Makes the choices of one run. Choice 0 is the normal course; every other choice is a deviation from it. */
export interface Chooser {
  /** Returns a number from 0 to `count - 1`. */
  choose(count: number): number;
}

export interface ExplorerOptions {
  /** How many choices of one schedule may deviate from the normal course. */
  readonly deviations: number;
  /** Splits the schedules: this explorer takes part `part` of `parts`. By default, it takes all of them. */
  readonly part?: number;
  readonly parts?: number;
}

/**
 * Yields each schedule once: those of no deviation, and those that differ in up to `deviations` choices.
 *
 * The runs must be repeatable: with the same choices, a run must offer the same numbers of choices again. This is
 * stateless search (Godefroid, "Model checking for programming languages using VeriSoft", 1997) with a bound on
 * deviations as in delay-bounded scheduling (Emmi, Qadeer and Rakamarić, 2011).
 */
export class Explorer implements Chooser {
  readonly #options: Required<ExplorerOptions>;
  #path: number[] = [];
  #counts: number[] = [];
  #depth = 0;

  constructor({ part = 0, parts = 1, deviations }: ExplorerOptions) {
    this.#options = { part, parts, deviations };
  }

  choose(count: number): number {
    const at = this.#depth++;
    if (at === this.#path.length) this.#path.push(0);
    this.#counts[at] = count;
    return this.#path[at];
  }

  /** The choices of the latest run, without the normal ones at its end. */
  get schedule(): readonly number[] {
    return this.#path.slice(0, this.#path.findLastIndex((choice) => choice > 0) + 1);
  }

  /** Prepares the next run. Returns false if all schedules have been run. */
  advance(): boolean {
    const { deviations, part, parts } = this.#options;
    this.#path.length = this.#depth;
    this.#depth = 0;
    const path = this.#path, counts = this.#counts;
    let spent = path.filter((choice) => choice > 0).length;
    for (let i = path.length - 1; i >= 0; i--) {
      if (path[i] > 0) spent--;
      if (spent < deviations && path[i] + 1 < counts[i] && (spent > 0 || i % parts === part)) {
        path[i]++;
        path.length = i + 1;
        return true;
      }
    }
    return false;
  }
}

/** Repeats one schedule. */
export class Replayer implements Chooser {
  #at = 0;

  constructor(readonly schedule: readonly number[]) {}

  choose(count: number): number {
    const choice = this.schedule[this.#at++] ?? 0;
    if (choice >= count) throw new Error(`choice ${choice} of ${count} at step ${this.#at - 1}`);
    return choice;
  }
}
