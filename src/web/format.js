// Numbers, sizes, times and ids as people read them.

/** Stands for what is not known. */
export const NONE = "–";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const clockFormat = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const dateFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** A count with thousands set apart. @param {number} n */
export function count(n) {
  return whole.format(n);
}

/** A count that may be huge: 12.3K. @param {number} n */
export function about(n) {
  return n < 10_000 ? whole.format(n) : compact.format(n);
}

const BYTE_UNITS = ["B", "kB", "MB", "GB", "TB"];

/** Bytes in decimal units. @param {number | null | undefined} n */
export function bytes(n) {
  if (n === null || n === undefined) return NONE;
  let value = n, unit = 0;
  while (value >= 999.5 && unit < BYTE_UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value >= 99.5 || unit === 0 ? Math.round(value) : digits(value)} ${BYTE_UNITS[unit]}`;
}

/** Bytes a second. @param {number} n */
export function byteRate(n) {
  return `${bytes(n)}/s`;
}

/** Events a second. @param {number} n */
export function rate(n) {
  return n >= 99.5 ? whole.format(n) : digits(n);
}

/** A duration in milliseconds. @param {number | null | undefined} n */
export function ms(n) {
  if (n === null || n === undefined) return NONE;
  return n >= 999.5 ? `${digits(n / 1000)} s` : `${n >= 99.5 ? Math.round(n) : digits(n)} ms`;
}

/** A share of 0 to 1. @param {number} share */
export function percent(share) {
  const value = share * 100;
  return `${value === 100 || value === 0 ? value : value > 99 ? "> 99" : digits(value)} %`;
}

/** Two figures behind the point below one, one below a hundred. @param {number} value */
function digits(value) {
  if (value === 0) return "0";
  return value < 0.995 ? value.toFixed(2) : value < 99.95 ? value.toFixed(1) : whole.format(value);
}

/** A duration in seconds, by its two largest units. @param {number} s */
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

/** How long ago, by its largest unit. @param {number} at @param {number} now */
export function ago(at, now) {
  const s = (now - at) / 1000;
  return s < 1.5 ? "just now" : `${largestUnit(s)} ago`;
}

/** @param {number} s */
function largestUnit(s) {
  return duration(s).split(" ").slice(0, 2).join(" ");
}

/** How long it will be. @param {number} at @param {number} now */
export function until(at, now) {
  return at <= now ? "now" : `in ${largestUnit((at - now) / 1000)}`;
}

/** Time of day. @param {number} at */
export function clock(at) {
  return clockFormat.format(at);
}

/** Date and time. @param {number} at */
export function date(at) {
  return dateFormat.format(at);
}

/** The first digits of an id, as many as tell ids apart by eye. @param {string} id */
export function shortId(id) {
  return id.slice(0, 8);
}

/** @param {number} n @param {string} one @param {string} [many] */
export function plural(n, one, many = `${one}s`) {
  return `${count(n)} ${n === 1 ? one : many}`;
}
