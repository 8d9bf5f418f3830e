// Hooks that several views use: element sizes, media queries, actions and intervals.

import { useCallback, useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { messageOf } from "./api.js";
import { parameterOf, setParameter } from "./routes.js";

/** @typedef {ReturnType<typeof setTimeout>} Timer */

/**
 * The size of an element in CSS pixels, or 0 before the first measurement.
 *
 * @template {Element} E
 * @returns {[import("preact").RefObject<E>, { width: number, height: number }]}
 */
export function useSize() {
  const ref = useRef(/** @type {E | null} */ (null));
  const [size, setSize] = useState({ width: 0, height: 0 });
  useLayoutEffect(() => {
    const element = ref.current;
    if (element === null) return;
    const measure = () => {
      const { width, height } = element.getBoundingClientRect();
      setSize((was) => was.width === width && was.height === height ? was : { width, height });
    };
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    measure();
    return () => observer.disconnect();
  }, []);
  return [/** @type {import("preact").RefObject<E>} */ (ref), size];
}

/** Whether a media query matches. @param {string} query */
export function useMedia(query) {
  const [holds, setHolds] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const list = matchMedia(query);
    const changed = () => setHolds(list.matches);
    changed();
    list.addEventListener("change", changed);
    return () => list.removeEventListener("change", changed);
  }, [query]);
  return holds;
}

/** Whether the user has asked for less motion, in the settings of the system. */
export function useStillness() {
  return useMedia("(prefers-reduced-motion: reduce)");
}

/**
 * Returns `value`, but changes the result at most once every `ms`. Lists sorted by it then don't jump under the
 * pointer.
 *
 * @template T
 * @param {T} value @param {number} ms
 * @returns {T}
 */
export function usePaced(value, ms) {
  const passed = useRef({ value, at: performance.now() });
  const [, again] = useState(0);
  const wait = passed.current.at + ms - performance.now();
  if (!Object.is(passed.current.value, value) && wait <= 0) {
    passed.current = { value, at: performance.now() };
  }
  useEffect(() => {
    if (Object.is(passed.current.value, value)) return;
    const timer = setTimeout(() => again((turn) => turn + 1), Math.max(0, wait));
    return () => clearTimeout(timer);
  });
  return passed.current.value;
}

/**
 * The state of an asynchronous action. `run` starts it unless it is already running.
 *
 * @template {unknown[]} A
 * @template T
 * @param {(...args: A) => Promise<T>} action
 */
export function useAction(action) {
  const [state, setState] = useState(
    /** @type {{ busy: boolean, error: string | null, result: T | null }} */ ({
      busy: false,
      error: null,
      result: null,
    }),
  );
  const alive = useRef(true), busy = useRef(false);
  useEffect(() => {
    alive.current = true;
    return () => void (alive.current = false);
  }, []);
  const latest = useRef(action);
  latest.current = action;
  const run = useCallback(async (/** @type {A} */ ...args) => {
    if (busy.current) return;
    busy.current = true;
    setState({ busy: true, error: null, result: null });
    /** @type {{ error: string | null, result: T | null }} */
    let outcome;
    try {
      outcome = { error: null, result: await latest.current(...args) };
    } catch (error) {
      outcome = { error: messageOf(error), result: null };
    }
    busy.current = false;
    if (alive.current) setState({ busy: false, ...outcome });
  }, []);
  const reset = useCallback(() => setState({ busy: false, error: null, result: null }), []);
  return { ...state, run, reset };
}

/**
 * Sends the request for a question, and repeats it if the question or `version` changes. The result
 * is always the answer to the current question: requests for earlier questions are aborted, and
 * their late answers are ignored. If only `version` changes, the former result stays until the new
 * one arrives.
 *
 * @template T
 * @param {string | null} question null asks nothing
 * @param {(signal: AbortSignal) => Promise<T>} ask
 * @param {unknown} [version]
 * @returns {{ busy: boolean, error: string | null, result: T | null, cancel: () => void }}
 */
export function useAnswer(question, ask, version) {
  const none = { question, busy: question !== null, error: null, result: null };
  const [state, setState] = useState(
    /** @type {{ question: string | null, busy: boolean, error: string | null, result: T | null }} */ (none),
  );
  const latest = useRef(ask);
  latest.current = ask;
  const running = useRef(/** @type {AbortController | null} */ (null));
  useEffect(() => {
    if (question === null) return;
    const abort = running.current = new AbortController();
    /** @param {{ error?: string, result?: T }} outcome */
    const end = ({ error = undefined, result = undefined }) => {
      if (abort.signal.aborted) return;
      setState((was) => ({
        question,
        busy: false,
        error: error ?? null,
        result: result ?? (was.question === question ? was.result : null),
      }));
    };
    setState((was) => was.question === question ? { ...was, busy: true } : none);
    latest.current(abort.signal).then(
      (result) => end({ result }),
      (error) => end({ error: messageOf(error) }),
    );
    return () => abort.abort();
  }, [question, version]);
  const cancel = useCallback(() => {
    running.current?.abort();
    setState((was) => ({ ...was, busy: false, error: "Cancelled." }));
  }, []);
  return { ...(state.question === question ? state : none), cancel };
}

/**
 * A parameter of the view in the page's address, so that Back and shared links keep it. Without a name, it is an ordinary
 * state.
 *
 * @param {string | null} name @param {string} [initial] not written to the address
 * @returns {[string, (value: string) => void]}
 */
export function useParameter(name, initial = "") {
  const read = () => (name === null ? null : parameterOf(location.hash, name)) ?? initial;
  const [value, setValue] = useState(read);
  useEffect(() => {
    if (name === null) return;
    const changed = () => setValue(read());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, [name, initial]);
  const set = useCallback((/** @type {string} */ next) => {
    setValue(next);
    if (name !== null) setParameter(name, next === initial ? null : next);
  }, [name, initial]);
  return [value, set];
}

/**
 * Runs a function now, and then every `ms` while the page is visible.
 *
 * @param {() => void} run @param {number} ms @param {unknown[]} deps
 */
export function useEvery(run, ms, deps) {
  const latest = useRef(run);
  latest.current = run;
  useEffect(() => {
    latest.current();
    const timer = setInterval(() => {
      if (document.visibilityState === "visible") latest.current();
    }, ms);
    return () => clearInterval(timer);
  }, deps);
}
