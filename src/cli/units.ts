// Figures as people read them: counts, bytes, durations and times, each with its unit.

/** Rounded, with the thousands set apart. */
export function count(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

/** A count with its noun: `1 copy`, `2 copies`. */
export function counted(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${Math.round(value) === 1 ? one : many}`;
}

const PREFIXES = ["", "k", "M", "G", "T", "P"];

/** Bytes with three digits and a decimal unit: 1 kB is 1,000 B. */
export function bytes(value: number): string {
  let scaled = Math.max(0, value), power = 0;
  // What would be rounded to 1000 belongs to the next unit.
  while (scaled >= 999.5 && power < PREFIXES.length - 1) {
    scaled /= 1000;
    power++;
  }
  const digits = power === 0 || scaled >= 99.95 ? 0 : scaled >= 9.995 ? 1 : 2;
  return `${scaled.toFixed(digits)} ${PREFIXES[power]}B`;
}

/** A share of 1. */
export function percent(share: number, digits = 0): string {
  return `${(share * 100).toFixed(digits)} %`;
}

/** A duration that is short, given in milliseconds. */
export function milliseconds(value: number): string {
  if (value >= 9_995) return `${(value / 1000).toFixed(1)} s`;
  return `${value.toFixed(value < 9.995 ? 2 : 0)} ms`;
}

const DURATIONS = [[86_400, "d"], [3_600, "h"], [60, "min"], [1, "s"]] as const;

/** A duration in seconds, as its two largest units: `3 d 4 h`, `12 min 5 s`, `7 s`. */
export function duration(seconds: number): string {
  let rest = Math.max(0, Math.round(seconds));
  const parts: string[] = [];
  for (const [size, unit] of DURATIONS) {
    const whole = Math.floor(rest / size);
    if (parts.length > 0) {
      if (whole > 0) parts.push(`${whole} ${unit}`);
      break;
    }
    if (whole > 0) parts.push(`${whole} ${unit}`);
    rest -= whole * size;
  }
  return parts.join(" ") || "0 s";
}

/** A duration in seconds for a narrow column: its largest unit alone. */
export function shortDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [size, unit] = DURATIONS.find(([size]) => whole >= size) ?? [1, "s"];
  return `${Math.floor(whole / size)} ${unit}`;
}

/** How long before `now` a time was; `now` is in milliseconds since 1970. A clock that is behind shows no future. */
export function ago(time: string, now: number): string {
  return `${duration((now - Date.parse(time)) / 1000)} ago`;
}

/** How long after `now` a time will be. */
export function ahead(time: string, now: number): string {
  const seconds = (Date.parse(time) - now) / 1000;
  return seconds < 1 ? "now" : `in ${duration(seconds)}`;
}

const BARS = "▁▂▃▄▅▆▇█";

/** One bar for each value, the highest as high as `most`; at most `width` of the latest. */
export function sparkline(values: readonly number[], width: number, most?: number): string {
  const shown = width > 0 ? values.slice(-width) : [];
  const top = most ?? Math.max(...shown, 0);
  return shown.map((value) => {
    const share = top > 0 && value > 0 ? Math.min(1, value / top) : 0;
    return BARS[Math.min(BARS.length - 1, Math.floor(share * BARS.length))];
  }).join("");
}
