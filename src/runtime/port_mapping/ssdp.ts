// Finds UPnP routers on the local network with SSDP (UPnP Device Architecture 1.1, section 1.3).

import { Endpoint } from "../../krpc/endpoint.ts";
import { receive, send } from "./datagrams.ts";
import { endpointOf, isOnOurNetwork, type MappingHost } from "./router.ts";

const GROUP = { 4: "239.255.255.250", 6: "ff02::c" } as const;

/** Search targets. Some routers answer searches for only one of them. */
const TARGETS = [
  "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
  "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
  "urn:schemas-upnp-org:service:WANIPConnection:1",
  "urn:schemas-upnp-org:service:WANPPPConnection:1",
];

/** Routers answer after a random delay of up to this many seconds. */
const MX_S = 1;

/** The number of times that the search is sent. More than one is needed, because packets can get lost. */
const ROUNDS = 2;

/** The time between two rounds, and the wait for answers after the last round: a bit longer than MX_S. */
const ROUND_MS = 1_000, LAST_ROUND_MS = 1_500;

/** Maximum number of answers that are used. No network has more routers. */
const MAX_LOCATIONS = 8;

/** Maximum length of a path in a stranger's answer, in characters. */
const MAX_PATH = 512;

/** The URL of a router's description, or of one of its services. */
export interface Location {
  readonly server: Endpoint;
  readonly path: string;
}

/**
 * Searches by multicast, and also by unicast to `candidates`, as firewalls often block multicast answers. A search
 * takes 2.5 s.
 */
export async function searchRouters(
  { own, candidates, isOver }: {
    readonly own: Endpoint;
    readonly candidates: readonly Endpoint[];
    readonly isOver: AbortSignal;
  },
  host: MappingHost,
): Promise<Location[]> {
  const { ssdp } = host.ports, closing = new AbortController();
  let conn: Deno.DatagramConn;
  try {
    conn = Deno.listenDatagram({ transport: "udp", hostname: own.host, port: 0 });
  } catch {
    return [];
  }
  const found = new Map<string, Location>();
  const receiving = receive(conn, { host, closing: closing.signal }, (answer, from) => {
    if (!isOnOurNetwork(own, from) || found.size >= MAX_LOCATIONS) return;
    const location = locationOf(new TextDecoder().decode(answer), from, own);
    if (location !== undefined) found.set(`${location.server} ${location.path}`, location);
  });
  const group = endpointOf(GROUP[own.family], ssdp);
  for (let round = 0; round < ROUNDS && !isOver.aborted; round++) {
    for (const to of [group, ...candidates.map((candidate) => candidate.withPort(ssdp))]) {
      for (const target of TARGETS) {
        await send(conn, { to, bytes: searchRequest(target, to, to === group) }, host);
      }
    }
    await host.clock.sleep(round < ROUNDS - 1 ? ROUND_MS : LAST_ROUND_MS, isOver);
  }
  closing.abort();
  await receiving;
  return [...found.values()];
}

/** Writes a search request. Only multicast requests state how long answers may take (section 1.3.2). */
function searchRequest(target: string, to: Endpoint, isMulticast: boolean): Uint8Array {
  const lines = [
    "M-SEARCH * HTTP/1.1",
    `HOST: ${to}`,
    'MAN: "ssdp:discover"',
    ...(isMulticast ? [`MX: ${MX_S}`] : []),
    `ST: ${target}`,
  ];
  return new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n`);
}

/**
 * Returns the location in an answer, but only if it is on the router that answers: a stranger must not make this node
 * send requests to other hosts. An IPv6 router may answer from its link-local address and give its global address.
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

/** Parses an http URL, relative to `base`. The host must be an IP address. */
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
