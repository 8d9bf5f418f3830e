// Times in reports. This file must not load zod, because the node's thread and the command line use it.

/**
 * The minimum, default and maximum TTL of a value in seconds: how long nodes should keep the value after its last
 * publication.
 */
export const MIN_TTL_S = 3_600, DEFAULT_TTL_S = 86_400, MAX_TTL_S = 604_800;

/** Formats `ms` since 1970 as RFC 3339 in UTC, to the second. */
export function timeText(ms: number): string {
  return new Date(ms).toISOString().slice(0, 19) + "Z";
}

/** Formats a time, or returns null for an event that has never happened. */
export function optionalTime(ms: number | null | undefined): string | null {
  return ms === null || ms === undefined ? null : timeText(ms);
}
