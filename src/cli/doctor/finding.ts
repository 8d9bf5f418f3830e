// The result of one check by `dmnode doctor`, with one of four verdicts.

/** `unknown`: the check is impossible on this machine, or it is too early for a verdict. */
export type Verdict = "ok" | "warn" | "fail" | "unknown";

export interface Finding {
  readonly check: string;
  readonly verdict: Verdict;
  readonly found: string;
  /** What the user can do; null if there is nothing to do. */
  readonly advice: string | null;
}

const finding =
  (verdict: Verdict) => (check: string, found: string, advice: string | null = null): Finding => (
    { check, verdict, found, advice }
  );

export const ok = finding("ok"), warn = finding("warn");
export const fail = finding("fail"), unknown = finding("unknown");

/** Creates a finding: a warning if there is advice, else `ok`. */
export const judged = (check: string, found: string, advice: string | false): Finding =>
  advice === false ? ok(check, found) : warn(check, found, advice);
