// Formats numbers, sizes, times and ids for people, on the page and on the command line.

/** The text for an unknown value. */
export const NONE = "–";

/**
 * Returns a function that creates its formatter on first use. Creating a formatter takes
 * milliseconds, and most commands need none.
 *
 * @template T
 * @param {() => { format(value: T): string }} create
 * @returns {(value: T) => string}
 */
function lazily(create) {
  /** @type {{ format(value: T): string } | undefined} */
  let formatter;
  return (value) => (formatter ??= create()).format(value);
}

/** @type {(n: number) => string} */
const whole = lazily(() => new Intl.NumberFormat("en", { maximumFractionDigits: 0 }));
/** @type {(n: number) => string} */
const compact = lazily(() =>
  new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 })
);

/** Time of day. @type {(at: number) => string} */
export const clock = lazily(() =>
  new Intl.DateTimeFormat(undefined, {
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    hourCycle: "h23",
  })
);

/** The day of a month. @type {(at: number) => string} */
export const day = lazily(() =>
  new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" })
);

/** Date and time. @type {(at: number) => string} */
export const date = lazily(() =>
  new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" })
);

/** A rounded count with thousands separators. @param {number} n */
export function count(n) {
  return whole(n);
}

/** A count that may be large, such as 12.3K. @param {number} n */
export function about(n) {
  return n < 10_000 ? whole(n) : compact(n);
}

/** A count with its noun. @param {number} n @param {string} singular @param {string} [plural] */
export function plural(n, singular, plural = `${singular}s`) {
  return `${count(n)} ${Math.round(n) === 1 ? singular : plural}`;
}

const BYTE_UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

/** Bytes in decimal units. @param {number | null | undefined} n */
export function bytes(n) {
  if (n === null || n === undefined) return NONE;
  let value = Math.max(0, n), unit = 0;
  // Show a value that would be rounded to 1000 in the next larger unit.
  while (value >= 999.5 && unit < BYTE_UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? Math.round(value) : digits(value)} ${BYTE_UNITS[unit]}`;
}

/** Bytes per second. @param {number} n */
export function byteRate(n) {
  return `${bytes(n)}/s`;
}

/** Events per second. @param {number} n */
export function rate(n) {
  return digits(n);
}

/** A duration in milliseconds. @param {number | null | undefined} n */
export function ms(n) {
  if (n === null || n === undefined) return NONE;
  return n >= 999.5 ? `${digits(n / 1000)} s` : `${digits(n)} ms`;
}

/** A share from 0 to 1, never rounded up to 100 %. @param {number} share */
export function percent(share) {
  const value = share * 100;
  return `${value === 100 ? 100 : value >= 99.95 ? "> 99.9" : digits(value)} %`;
}

/** Formats a number with three significant digits, but at most two decimals. @param {number} value */
function digits(value) {
  if (value === 0) return "0";
  return value < 9.995 ? value.toFixed(2) : value < 99.95 ? value.toFixed(1) : whole(value);
}

/** A duration in seconds, in its two largest units. @param {number} s */
export function duration(s) {
  const total = Math.max(0, Math.floor(s));
  const parts = /** @type {const} */ ([["d", 86_400], ["h", 3_600], ["min", 60], ["s", 1]]);
  const first = parts.findIndex(([, size]) => total >= size);
  if (first === -1) return "0 s";
  return parts.slice(first, first + 2).map(([unit, size], i) => {
    const above = i === 0 ? Infinity : parts[first][1];
    return `${Math.floor((total % above) / size)} ${unit}`;
  }).filter((text, i) => i === 0 || !text.startsWith("0 ")).join(" ");
}

/** A duration in seconds, in its largest unit. @param {number} s */
export function shortDuration(s) {
  return duration(s).split(" ").slice(0, 2).join(" ");
}

/** The time since `at`, in its largest unit. @param {number} at @param {number} now */
export function ago(at, now) {
  const s = (now - at) / 1000;
  return s < 1.5 ? "just now" : `${shortDuration(s)} ago`;
}

/** The time until `at`, in its largest unit. @param {number} at @param {number} now */
export function until(at, now) {
  return at < now + 1000 ? "now" : `in ${shortDuration((at - now) / 1000)}`;
}

/** The first digits of an id: enough to distinguish ids by eye. @param {string} id */
export function shortId(id) {
  return id.slice(0, 8);
}

/** Letters that are written from right to left, and characters that change the direction of text. */
const BIDIRECTIONAL =
  /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u200e\u200f\u202a-\u202e\u2066-\u2069]/;
const DIRECTION_CONTROLS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/**
 * Prepares a text that others chose for use inside a sentence, so that its direction does not affect the words around
 * it. Characters that change the direction become visible. A text without such characters and without letters that are
 * written from right to left stays as it is.
 *
 * @param {string} text
 */
export function isolated(text) {
  if (!BIDIRECTIONAL.test(text)) return text;
  // The added characters are First Strong Isolate and Pop Directional Isolate (UAX 9, section 2.4).
  return `\u2068${text.replace(DIRECTION_CONTROLS, "\ufffd")}\u2069`;
}
