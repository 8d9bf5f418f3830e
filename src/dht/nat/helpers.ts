// Finds nodes that can help us if we are behind a NAT, by probing us or by introducing other nodes to us.

import type { Endpoint, Family } from "../../krpc/endpoint.ts";
import type { Id } from "../../krpc/id.ts";
import type { Message } from "../../krpc/message.ts";
import type { Millis } from "../deadlines.ts";
import type { Searches } from "../search/searches.ts";

/** A node that runs this project's software and gave us a write token. */
export interface Helper {
  readonly id: Id;
  readonly endpoint: Endpoint;
  readonly token: Uint8Array;
}

/**
 * Finds helpers among the nodes closest to our id. Also reports how many of these nodes answered, whatever software
 * they run.
 */
export function findHelpers(
  { searches, family }: { searches: Searches; family: Family },
  now: Millis,
  done: (helpers: Helper[], now: Millis, answered: number) => void,
): void {
  const { self } = searches;
  const helpers: Helper[] = [];
  const onResponse = ({ id, token, client }: Message, { endpoint }: { endpoint: Endpoint }) => {
    if (id !== undefined && token !== undefined && self.isSameSoftware(client)) {
      helpers.push({ id, endpoint, token: token.slice() });
    }
    return false;
  };
  const search = { target: self.id, family, method: "get_peers", onResponse } as const;
  searches.findIn(search, now, ({ closest }, at) => done(helpers, at, closest.length));
}
