// Routers that map ports, independent of their protocol.

import { Endpoint } from "../../krpc/endpoint.ts";
import type { Clock } from "../../large_values/item_network.ts";

/** A mapping that a router made. */
export interface Lease {
  /** The protocol that the router speaks: RFC 6887, RFC 6886, or UPnP's Internet Gateway Device. */
  readonly protocol: "pcp" | "nat-pmp" | "upnp";
  readonly gateway: string;
  /** Our own address and port, to which the router forwards packets. */
  readonly internal: Endpoint;
  /** The address at which others can reach us, according to the router. With IPv6, usually the same as `internal`. */
  readonly external: Endpoint;
  /** The duration of the lease in seconds; 0 means until the mapping is deleted. */
  readonly seconds: number;
}

/** The outcome of a request for a mapping. `reason` is one line without control characters. */
export type MapOutcome =
  | { readonly outcome: "leased"; readonly lease: Lease }
  | { readonly outcome: "refused" | "silent"; readonly reason: string };

/** Returns the outcome for a mapping that `router` has made. */
export function leased(
  { protocol, gateway }: Router,
  mapping: Omit<Lease, "protocol" | "gateway">,
): MapOutcome {
  return { outcome: "leased", lease: { protocol, gateway, ...mapping } };
}

/** `lost` means that the router has forgotten the mapping, or that the router's external address has changed. */
export type CheckOutcome = "kept" | "lost" | "silent";

/** A router that is reached through one protocol. The promises settle within seconds and never reject. */
export interface Router {
  readonly protocol: Lease["protocol"];
  readonly gateway: string;
  /** Requests a mapping, or the renewal of `lease`. */
  map(lease?: Lease): Promise<MapOutcome>;
  /** Asks whether the mapping still exists. */
  check(lease: Lease): Promise<CheckOutcome>;
  release(lease: Lease): Promise<void>;
  close(): void;
}

/** The functions and settings that all protocols need. */
export interface MappingHost {
  /** Whether the node may exchange packets with this address. Called before each packet is sent. */
  allows(endpoint: Endpoint): boolean;
  readonly clock: Clock;
  /** Returns a number from 0 to 1. */
  random(): number;
  /** The well-known ports of the protocols. Tests use other ports. */
  readonly ports: {
    readonly control: number;
    readonly ssdp: number;
    readonly announcements: number;
  };
}

/** PCP and NAT-PMP share one port for requests and another for announcements (RFC 6887, section 19.1). */
export const WELL_KNOWN_PORTS: MappingHost["ports"] = {
  control: 5351,
  ssdp: 1900,
  announcements: 5350,
};

/** The mapping to request from a router. */
export interface Wanted {
  /** Our address on the router's network, and the P2P port. */
  readonly internal: Endpoint;
  /** The bytes by which a PCP server recognizes a returning client (RFC 6887, section 11.1). */
  readonly nonce: Uint8Array;
}

/** The duration of the requested lease in seconds: short, so that routers soon forget a crashed node's mapping. */
export const LEASE_S = 3600;

/**
 * The shortest lease that is accepted. Shorter leases would need constant renewal. RFC 6887, section 15, recommends at
 * least 120 s.
 */
export const MIN_LEASE_S = 60;

/**
 * The lowest external port to request. Lower ports are reserved for the system, and routers should refuse to map them.
 */
export const MIN_EXTERNAL_PORT = 1024;

/** Whether `gateway` may be our router, which must be on the local network. */
export function isOnOurNetwork(own: Endpoint, gateway: Endpoint): boolean {
  if (own.family !== gateway.family) return false;
  if (own.family === 6) {
    return gateway.isLinkLocal ||
      (own.a === gateway.a && own.b === gateway.b && gateway.scope !== "none");
  }
  const isLocal = gateway.scope === "private" || gateway.scope === "loopback";
  return isLocal && blockOf(own) === blockOf(gateway);
}

/** Returns the private range that contains an address (RFC 1918, 6598, 3927). The exact subnet is unknown. */
function blockOf({ a }: Endpoint): number {
  const first = a >>> 24;
  if (first === 10 || first === 127) return first;
  if (a >>> 16 === 0xc0a8 || first === 169) return a >>> 16;
  return first === 172 ? a >>> 20 : a >>> 22;
}

/** Creates the endpoint of a valid address. */
export function endpointOf(host: string, port: number): Endpoint {
  const endpoint = Endpoint.parse(host, port);
  if (endpoint === undefined) throw new TypeError(`not an address: ${host}`);
  return endpoint;
}
