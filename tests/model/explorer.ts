// Depth-first search over the choices of a program. It runs the program again from the start for each schedule.

import { type Fingerprint, StateTable } from "./fingerprint.ts";

/** Makes the choices of one run. Choice 0 is the normal course; every other choice is a deviation from it. */
export interface Chooser {
  /** Returns a number from 0 to `count - 1`. */
  choose(count: number): number;
  /**
   * Whether the search covers everything that may follow this state in other runs. If so, this run may end here.
   * `isEnd`: no more choices follow. Call this before each choice, or never.
   */
  isCovered(state: Fingerprint, isEnd?: boolean): boolean;
}

export interface ExplorerOptions {
  /** How many choices of one schedule may deviate from the normal course. */
  readonly deviations: number;
}

/**
 * Yields each schedule once: those of no deviation, and those that differ in up to `deviations` choices.
 *
 * The runs must be repeatable: with the same choices, a run must offer the same numbers of choices again. This is
 * stateless search (Godefroid, "Model checking for programming languages using VeriSoft", 1997) with a bound on
 * deviations as in delay-bounded scheduling (Emmi, Qadeer and Rakamarić, 2011).
 *
 * If the program reports its states, the search runs nothing twice from one state. Of two schedules that differ only in
 * the order of independent steps, one then ends where both have led to the same state.
 */
export class Explorer implements Chooser {
  readonly #deviations: number;
  /** For each known state, how many deviations were allowed from it on, or `END`. */
  readonly #states = new StateTable();
  #path: number[] = [];
  #counts: number[] = [];
  #depth = 0;
  #spent = 0;

  constructor({ deviations }: ExplorerOptions) {
    this.#deviations = deviations;
  }

  choose(count: number): number {
    const at = this.#depth++;
    if (at === this.#path.length) this.#path.push(0);
    this.#counts[at] = count;
    return this.#path[at];
  }

  isCovered(state: Fingerprint, isEnd = false): boolean {
    const path = this.#path;
    // An earlier run with the same choices has noted this state.
    if (this.#depth < path.length) return false;
    const left = isEnd ? END : this.#deviations - this.#spent;
    if (this.#states.get(state) >= left) return true;
    // Most states are those of runs without further deviations. Noting the first of each run bounds the memory.
    if (left > 0 || path.at(-1) !== 0) this.#states.set(state, left);
    return false;
  }

  /** The choices of the latest run, without the normal ones at its end. */
  get schedule(): readonly number[] {
    return this.#path.slice(0, this.#path.findLastIndex((choice) => choice > 0) + 1);
  }

  /** Prepares the next run. Returns false if all schedules have been run. */
  advance(): boolean {
    this.#path.length = this.#depth;
    this.#depth = 0;
    const path = this.#path, counts = this.#counts;
    for (let i = path.length - 1; i >= 0; i--) {
      if (path[i] > 0) this.#spent--;
      if (this.#spent < this.#deviations && path[i] + 1 < counts[i]) {
        path[i]++;
        this.#spent++;
        path.length = i + 1;
        return true;
      }
    }
    return false;
  }
}

/** A number greater than any number of deviations: the state at the end of a run. */
const END = 254;

/** Repeats one schedule. */
export class Replayer implements Chooser {
  #at = 0;

  constructor(readonly schedule: readonly number[]) {}

  choose(count: number): number {
    const choice = this.schedule[this.#at++] ?? 0;
    if (choice >= count) throw new Error(`choice ${choice} of ${count} at step ${this.#at - 1}`);
    return choice;
  }

  isCovered(): boolean {
    return false;
  }
}
