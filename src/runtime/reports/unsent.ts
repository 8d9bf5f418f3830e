// Remembers why the system refuses to send packets.

import type { Millis } from "../../dht/deadlines.ts";
import type { Endpoint } from "../../krpc/endpoint.ts";

/**
 * How long a refusal is reported. Without a new refusal in this time, the cause is fixed, or nothing is sent to that
 * address any more.
 */
const REPORTED_MS = 10 * 60_000;

/** The cause of each system error, by error code. */
const CAUSES: Readonly<Record<string, string>> = {
  ENETUNREACH: "this machine has no route to it (see ip route, for IPv6 ip -6 route)",
  EHOSTUNREACH: "this machine has no route to it (see ip route, for IPv6 ip -6 route)",
  EPERM: "a firewall on this machine forbids it (see nft list ruleset)",
  EACCES: "a firewall or the system's settings forbid it (see nft list ruleset)",
};

export class Unsent {
  #latest: { readonly text: string; readonly at: Millis } | undefined;

  /** Records that the system refused to send a packet. Returns what to log about it. */
  note(error: unknown, to: Endpoint, now: Millis): string {
    const { code = "", message } = error as { readonly code?: string; readonly message: string };
    const text = `${to}: ${CAUSES[code] ?? message}`;
    this.#latest = { text, at: now };
    return text;
  }

  /** The address and the cause of the latest refusal; null if there was none in the last ten minutes. */
  latest(now: Millis): string | null {
    const latest = this.#latest;
    return latest !== undefined && now - latest.at < REPORTED_MS ? latest.text : null;
  }
}
