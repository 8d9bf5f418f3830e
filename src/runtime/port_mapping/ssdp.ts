// SSDP: finds UPnP routers on the local network (UPnP Device Architecture 1.1, section 1.3).

import { Endpoint } from "../../krpc/endpoint.ts";
import { endpointOf, isOnOurNetwork, type MappingHost } from "./router.ts";

const GROUP = { 4: "239.255.255.250", 6: "ff02::c" } as const;

/** What is searched for: some routers answer to one of these alone. */
const TARGETS = [
  "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
  "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
  "urn:schemas-upnp-org:service:WANIPConnection:1",
  "urn:schemas-upnp-org:service:WANPPPConnection:1",
];

/** Routers answer within this many seconds, of their own choice. */
const MX_S = 1;

/** The search is sent so often, so far apart; the last time answers are waited for somewhat longer than MX. */
const ROUNDS = 2, ROUND_MS = 1_000, LAST_ROUND_MS = 1_500;

/** More answering routers than any network has. */
const MAX_LOCATIONS = 8;

const MAX_ANSWER_BYTES = 2_048, MAX_PATH = 512;

/** A pause after a failed receive, lest a socket that fails for good occupies the processor. */
const RECEIVE_PAUSE_MS = 100;

/** Where a router describes itself. */
export interface Location {
  readonly server: Endpoint;
  readonly path: string;
}

/**
 * Searches, by multicast and at each of `candidates`: a host's own firewall lets answers to multicast through more
 * rarely than those to a question asked of the one who answers. Resolves after 2.5 s, or when `isOver` is aborted.
 */
export async function searchRouters(
  own: Endpoint,
  candidates: readonly Endpoint[],
  host: MappingHost,
  isOver: AbortSignal,
): Promise<Location[]> {
  const { ssdp } = host.ports;
  let conn: Deno.DatagramConn;
  try {
    conn = Deno.listenDatagram({ transport: "udp", hostname: own.host, port: 0 });
  } catch {
    return [];
  }
  const found = new Map<string, Location>();
  const closed = new AbortController();
  const receiving = receive(conn, own, host, found, closed.signal);
  const group = endpointOf(GROUP[own.family], ssdp);
  for (let round = 0; round < ROUNDS && !isOver.aborted; round++) {
    for (const to of [group, ...candidates.map((candidate) => candidate.withPort(ssdp))]) {
      for (const target of TARGETS) {
        if (host.allows(to)) await send(conn, to, search(target, to, to === group));
      }
    }
    await host.clock.sleep(round < ROUNDS - 1 ? ROUND_MS : LAST_ROUND_MS, isOver);
  }
  closed.abort();
  conn.close();
  await receiving;
  return [...found.values()];
}

/** A search by multicast says how long answers may take; one of a single router does not (section 1.3.2). */
function search(target: string, to: Endpoint, isMulticast: boolean): string {
  const lines = [
    "M-SEARCH * HTTP/1.1",
    `HOST: ${to}`,
    'MAN: "ssdp:discover"',
    ...(isMulticast ? [`MX: ${MX_S}`] : []),
    `ST: ${target}`,
  ];
  return `${lines.join("\r\n")}\r\n\r\n`;
}

async function send(conn: Deno.DatagramConn, to: Endpoint, text: string): Promise<void> {
  try {
    const { host: hostname, port } = to;
    await conn.send(new TextEncoder().encode(text), { transport: "udp", hostname, port });
  } catch {
    // No route: then no router there.
  }
}

async function receive(
  conn: Deno.DatagramConn,
  own: Endpoint,
  host: MappingHost,
  found: Map<string, Location>,
  closed: AbortSignal,
): Promise<void> {
  const buffer = new Uint8Array(MAX_ANSWER_BYTES);
  while (!closed.aborted) {
    let received: [Uint8Array, Deno.Addr];
    try {
      received = await conn.receive(buffer);
    } catch {
      // Some systems tell so of a packet that bounced.
      await host.clock.sleep(RECEIVE_PAUSE_MS, closed);
      continue;
    }
    const { hostname, port } = received[1] as Deno.NetAddr;
    const from = Endpoint.parse(hostname, port);
    if (from === undefined || !host.allows(from) || !isOnOurNetwork(own, from)) continue;
    const location = locationOf(new TextDecoder().decode(received[0]), from, own);
    if (location !== undefined && found.size < MAX_LOCATIONS) {
      found.set(`${location.server} ${location.path}`, location);
    }
  }
}

/**
 * Where an answer says that the router describes itself; undefined unless that is on the router itself: what a stranger
 * on the network says must not make this node send requests to others. An IPv6 router may have answered from its
 * link-local address and name its global one.
 */
export function locationOf(answer: string, from: Endpoint, own: Endpoint): Location | undefined {
  if (!/^HTTP\/1\.[01] 200\b/.test(answer)) return undefined;
  const value = /^location:[ \t]*(\S+)[ \t]*$/im.exec(answer)?.[1];
  const location = value === undefined ? undefined : parseLocation(value);
  if (location === undefined) return undefined;
  const { server } = location;
  const isTheirs = server.sameAddress(from) || (own.family === 6 && isOnOurNetwork(own, server));
  return isTheirs ? location : undefined;
}

/** A plain http URL of a literal address. */
export function parseLocation(text: string, base?: Location): Location | undefined {
  const from = base && `http://${base.server}${base.path}`;
  const url = URL.canParse(text, from) ? new URL(text, from) : undefined;
  if (url?.protocol !== "http:" || url.username !== "" || url.password !== "") return undefined;
  const port = url.port === "" ? 80 : Number(url.port);
  const server = Endpoint.parse(url.hostname.replace(/^\[|\]$/g, ""), port);
  const path = `${url.pathname}${url.search}`;
  if (server === undefined || port === 0 || path.length > MAX_PATH) return undefined;
  return { server, path };
}
