// The text in which an event is sent to all who listen.

import type { EventData, EventType } from "./schemas.ts";

/** One message: `at` is in milliseconds since 1970; `id` null where it is no event that can be resumed. */
export function eventText<T extends EventType>(
  id: number | null,
  type: T,
  at: number,
  data: EventData<T>,
): string {
  return JSON.stringify({ id, type, at: new Date(at).toISOString(), data });
}
