// NAT-PMP, the NAT Port Mapping Protocol (RFC 6886): its messages, and routers that speak it.

import { Endpoint } from "../../krpc/endpoint.ts";
import { ControlRouter, EpochTime, type Grant, RELEASE_TRIES } from "./control_router.ts";
import { type CheckOutcome, LEASE_S } from "./router.ts";

const VERSION = 0, ADDRESS = 0, MAP_UDP = 1, RESPONSE = 0x80;

/** A request for the external address (section 3.2). */
export function addressRequest(): Uint8Array {
  return Uint8Array.of(VERSION, ADDRESS);
}

/** A request for a mapping (section 3.3). A lifetime of 0 deletes the mapping (section 3.4). */
export function mapRequest(
  internalPort: number,
  externalPort: number,
  lifetimeS: number,
): Uint8Array {
  const view = new DataView(new ArrayBuffer(12));
  view.setUint8(1, MAP_UDP);
  view.setUint16(4, internalPort);
  view.setUint16(6, externalPort);
  view.setUint32(8, lifetimeS);
  return new Uint8Array(view.buffer);
}

/**
 * Parses arbitrary bytes as a response. Returns undefined if they are no response. Error responses
 * may have no body.
 */
export function readResponse(bytes: Uint8Array) {
  if (bytes.length < 8 || bytes[0] !== VERSION) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const result = view.getUint16(2), head = { result, epochS: view.getUint32(4) };
  if (bytes[1] === (RESPONSE | ADDRESS) && (bytes.length >= 12 || result !== 0)) {
    const external = result === 0 ? Endpoint.ofIpv4(view.getInt32(8), 1) : undefined;
    return { kind: "address" as const, ...head, external };
  }
  if (bytes[1] !== (RESPONSE | MAP_UDP)) return undefined;
  if (bytes.length >= 16) {
    const internalPort = view.getUint16(8), externalPort = view.getUint16(10);
    const lifetimeS = view.getUint32(12);
    return { kind: "mapping" as const, ...head, internalPort, externalPort, lifetimeS };
  }
  if (result === 0) return undefined;
  return {
    kind: "mapping" as const,
    ...head,
    internalPort: undefined,
    externalPort: 0,
    lifetimeS: 0,
  };
}

/** A router that speaks NAT-PMP. */
export class NatPmpRouter extends ControlRouter {
  readonly protocol = "nat-pmp";
  protected readonly epoch = new EpochTime("nat-pmp", this.host.clock);

  /** The meaning of each result code (RFC 6886, section 3.5). */
  protected readonly results = [
    "success",
    "unsupported version",
    "not authorized",
    "network failure: it has no external address",
    "out of resources",
    "unsupported opcode",
  ];
  /** The router's external address when it made the mapping. */
  #external: Endpoint | undefined;

  async check(): Promise<CheckOutcome> {
    const response = await this.#askAddress(), known = this.#external;
    if (response === undefined) return "silent";
    const isContinuous = this.epoch.note(response.epochS);
    const isSame = known !== undefined && response.external?.sameAddress(known) === true;
    return isSame && isContinuous ? "kept" : "lost";
  }

  async release(): Promise<void> {
    await this.#map(0, 0, RELEASE_TRIES);
  }

  protected async request(preferred: Endpoint | undefined): Promise<Grant | undefined> {
    const address = await this.#askAddress(), external = address?.external;
    if (address === undefined) return undefined;
    if (external === undefined || external.scope === "none") {
      return { ...address, lifetimeS: LEASE_S };
    }
    const mapping = await this.#map(preferred?.port ?? this.wanted.internal.port, LEASE_S);
    if (mapping === undefined) return undefined;
    this.#external = external;
    const { externalPort: port } = mapping;
    return { ...mapping, external: port === 0 ? undefined : external.withPort(port) };
  }

  #map(externalPort: number, lifetimeS: number, tries?: number) {
    const { port } = this.wanted.internal;
    return this.ask(mapRequest(port, externalPort, lifetimeS), (bytes) => {
      const response = readResponse(bytes);
      const isOurs = response?.kind === "mapping" && (response.internalPort ?? port) === port;
      return isOurs ? response : undefined;
    }, tries);
  }

  #askAddress() {
    return this.ask(addressRequest(), (bytes) => {
      const response = readResponse(bytes);
      return response?.kind === "address" ? response : undefined;
    });
  }
}
