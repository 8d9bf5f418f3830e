// Keeps lasting troubles from flooding the log: a line for each change, and then one a minute.

/** How often a state that stays is told again. */
const AGAIN_MS = 60_000;

export class StateLog {
  readonly #told = new Map<string, { state: string; at: number }>();

  /** Whether a line is due that says so of `topic`; counts as told if it is. Topics are the caller's own, and few. */
  isDue(topic: string, state: string, now: number): boolean {
    const last = this.#told.get(topic);
    if (last?.state === state && now - last.at < AGAIN_MS) return false;
    this.#told.set(topic, { state, at: now });
    return true;
  }
}
