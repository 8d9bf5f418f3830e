// A router that maps ports, whichever protocol it speaks: what the lifecycle of a mapping needs of it.

import type { Clock } from "../../data/item_network.ts";
import { Endpoint, type Scope } from "../../krpc/endpoint.ts";

/** The ways to ask a router: RFC 6887, RFC 6886, and UPnP's Internet Gateway Device. */
export type Protocol = "pcp" | "nat-pmp" | "upnp";

/** A mapping that a router made. */
export interface Lease {
  readonly protocol: Protocol;
  /** The router's address on our side. */
  readonly gateway: string;
  /** Our own address and port, to which the router hands packets on. */
  readonly internal: Endpoint;
  /** Where the router says that they arrive; for IPv6 as a rule the same. */
  readonly external: Endpoint;
  /** For how long it was granted, in seconds; 0: until it is deleted. */
  readonly seconds: number;
}

/** What came of asking for a mapping. Reasons are one line, free of control characters. */
export type Asked =
  | { readonly outcome: "leased"; readonly lease: Lease }
  | { readonly outcome: "refused"; readonly reason: string }
  | { readonly outcome: "silent"; readonly reason: string };

/** `lost`: the router does not have the mapping any more, or has another external address. */
export type Checked = "kept" | "lost" | "silent";

/** One router under one protocol. Its promises settle within seconds and don't reject. */
export interface Router {
  readonly protocol: Protocol;
  readonly gateway: string;
  /** Asks for a mapping, or for an hour more of `lease`. */
  map(lease?: Lease): Promise<Asked>;
  /** Asks cheaply whether the mapping is still there. */
  check(lease: Lease): Promise<Checked>;
  /** Gives the mapping back. */
  release(lease: Lease): Promise<void>;
  /** Lets go of sockets. */
  close(): void;
}

/** What those who talk to routers share. */
export interface MappingHost {
  /** Whether packets may be exchanged with this address; asked before each is sent. */
  allows(endpoint: Endpoint): boolean;
  readonly clock: Clock;
  /** 0 to 1. */
  random(): number;
  /** The routers' well-known ports; others in tests. */
  readonly ports: {
    readonly control: number;
    readonly ssdp: number;
    readonly announcements: number;
  };
}

/** PCP and NAT-PMP share a port, and one for announcements (RFC 6887, section 19.1); SSDP's is UPnP's. */
export const WELL_KNOWN_PORTS: MappingHost["ports"] = {
  control: 5351,
  ssdp: 1900,
  announcements: 5350,
};

/** What is asked of a router: these packets to us, please. */
export interface Wanted {
  /** Our address on the router's network, and the P2P port. */
  readonly internal: Endpoint;
  /** Proves to a PCP server that it is the same client that comes back (RFC 6887, section 11.1). */
  readonly nonce: Uint8Array;
}

/**
 * How long mappings are asked for, in seconds: after a crash the router forgets ours within the hour, and a renewal
 * each half hour costs nothing.
 */
export const LEASE_S = 3600;

/** A shorter lease than this is no use: it would have to be renewed all the time (RFC 6887, section 15: 120 s or more). */
export const MIN_LEASE_S = 60;

/** Ports below these are the system's: routers refuse them, or should. */
export const MIN_EXTERNAL_PORT = 1024;

/** Whether the router at `gateway` may be ours: reached without leaving the local network, and no wider than we are. */
export function isOnOurNetwork(own: Endpoint, gateway: Endpoint): boolean {
  if (own.family !== gateway.family) return false;
  if (own.family === 6) {
    const isLinkLocal = gateway.a >>> 22 === 0xfe80 >>> 6;
    return isLinkLocal || (own.a === gateway.a && own.b === gateway.b && gateway.scope !== "none");
  }
  return LOCAL_SCOPES.includes(gateway.scope) && blockOf(own) === blockOf(gateway);
}

const LOCAL_SCOPES: readonly Scope[] = ["private", "loopback"];

/** The private range of an address (RFC 1918, 6598, 3927): its own subnet's mask is not known. */
function blockOf({ a }: Endpoint): number {
  const first = a >>> 24;
  return first === 10 || first === 127
    ? first
    : a >>> 16 === 0xc0a8 || first === 169
    ? a >>> 16
    : first === 172
    ? a >>> 20
    : a >>> 22;
}

/** A stranger's text as a part of a line for people. */
export function clean(text: string): string {
  return text.replace(/[\p{C}\s]+/gu, " ").trim().slice(0, 100);
}

/** Runs `promise`, but no longer than `ms`; undefined when time is up. */
export async function within<T>(
  clock: Clock,
  ms: number,
  promise: Promise<T>,
): Promise<T | undefined> {
  const timeUp = new AbortController();
  try {
    return await Promise.race([promise, clock.sleep(ms, timeUp.signal).then(() => undefined)]);
  } finally {
    timeUp.abort();
  }
}

/** The endpoint of an address that is known to be one. */
export function endpointOf(host: string, port: number): Endpoint {
  const endpoint = Endpoint.parse(host, port);
  if (endpoint === undefined) throw new TypeError(`no address: ${host}`);
  return endpoint;
}
