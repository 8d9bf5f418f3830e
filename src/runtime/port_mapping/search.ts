// Finds the routers of the local network that may map a port.

import { within } from "../clock.ts";
import type { ControlRouter } from "./control_router.ts";
import type { LocalNetwork } from "./local_network.ts";
import { NatPmpRouter } from "./nat_pmp.ts";
import { PcpRouter } from "./pcp.ts";
import { isOnOurNetwork, type MappingHost, type Router, type Wanted } from "./router.ts";
import { searchRouters } from "./ssdp.ts";
import { describedRouters } from "./upnp.ts";

/** The wait for further answers after the first one. A router answers in all its protocols within about this time. */
const ANSWERS_SPREAD_MS = 250;

/**
 * Yields the routers that answer. PCP comes first, as it gives the most information. UPnP comes last, as it needs the
 * most requests.
 */
export async function* findRouters({ wanted, host, network, signal }: {
  readonly wanted: Wanted;
  readonly host: MappingHost;
  readonly network: Pick<LocalNetwork, "likelyRouters">;
  readonly signal: AbortSignal;
}): AsyncGenerator<Router> {
  const { internal } = wanted;
  const candidates = network.likelyRouters(internal)
    .filter((router) => isOnOurNetwork(internal, router));
  const finished = new AbortController();
  const isOver = AbortSignal.any([signal, finished.signal]);
  const locations = searchRouters({ own: internal, candidates, isOver }, host);
  const waiting = new Set<ControlRouter>();
  try {
    for (const candidate of candidates) {
      const server = candidate.withPort(host.ports.control);
      if (!host.allows(server)) continue;
      for (
        const ControlledRouter of internal.family === 4 ? [PcpRouter, NatPmpRouter] : [PcpRouter]
      ) {
        try {
          waiting.add(new ControlledRouter(server, wanted, host));
        } catch {
          // Ignore the error: this machine no longer has the address.
        }
      }
    }
    for (const router of await answering([...waiting], host)) {
      waiting.delete(router);
      yield router;
    }
    for (const location of await locations) yield* await describedRouters(location, wanted, host);
  } finally {
    finished.abort();
    for (const router of waiting) router.close();
  }
}

/** Returns the routers that answer, at most ANSWERS_SPREAD_MS after the first answer, in the given order. */
async function answering(
  routers: readonly ControlRouter[],
  { clock }: MappingHost,
): Promise<ControlRouter[]> {
  const answered = new Set<ControlRouter>(), first = Promise.withResolvers<void>();
  const all = Promise.all(routers.map(async (router) => {
    if (await router.check() === "silent") return;
    answered.add(router);
    first.resolve();
  }));
  await Promise.race([all, first.promise]);
  await within(clock, ANSWERS_SPREAD_MS, all);
  return routers.filter((router) => answered.has(router));
}
