// NAT-PMP, the NAT Port Mapping Protocol (RFC 6886): its messages, and a router that speaks it.

import { Endpoint } from "../../krpc/endpoint.ts";
import { ControlSocket, TRIES } from "./control_socket.ts";
import { EpochTime } from "./epoch_time.ts";
import {
  type Asked,
  type Checked,
  type Lease,
  LEASE_S,
  type MappingHost,
  MIN_LEASE_S,
  type Router,
  type Wanted,
} from "./router.ts";

const VERSION = 0, ADDRESS = 0, MAP_UDP = 1, RESPONSE = 0x80;

/** Section 3.5. */
const RESULTS = [
  "success",
  "unsupported version",
  "not authorized",
  "network failure: it has no external address",
  "out of resources",
  "unsupported opcode",
];

/** A response of the router. */
export type NatPmpResponse =
  & { readonly result: number; readonly epochS: number }
  & (
    /** Undefined where the result is an error. */
    | { readonly kind: "address"; readonly external: Endpoint | undefined }
    | {
      readonly kind: "mapping";
      /** Undefined in an error that came without it. */
      readonly internalPort: number | undefined;
      readonly externalPort: number;
      readonly lifetimeS: number;
    }
  );

/** Asks for the external address (section 3.2). */
export function addressRequest(): Uint8Array {
  return Uint8Array.of(VERSION, ADDRESS);
}

/** Asks for a mapping (section 3.3); a lifetime of 0 seconds deletes it (section 3.4). */
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

/** Reads a response; undefined where it is none, of whatever length and content. */
export function readResponse(bytes: Uint8Array): NatPmpResponse | undefined {
  if (bytes.length < 8 || bytes[0] !== VERSION) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const result = view.getUint16(2), epochS = view.getUint32(4);
  if (bytes[1] === (RESPONSE | ADDRESS) && (bytes.length >= 12 || result !== 0)) {
    const external = result === 0 ? Endpoint.read(withPort(bytes), 0, 4) : undefined;
    return { kind: "address", result, epochS, external };
  }
  if (bytes[1] === (RESPONSE | MAP_UDP) && (bytes.length >= 16 || result !== 0)) {
    const isWhole = bytes.length >= 16;
    return {
      kind: "mapping",
      result,
      epochS,
      internalPort: isWhole ? view.getUint16(8) : undefined,
      externalPort: isWhole ? view.getUint16(10) : 0,
      lifetimeS: isWhole ? view.getUint32(12) : 0,
    };
  }
  return undefined;
}

/** The address of a response, with any port: it tells none. */
function withPort(bytes: Uint8Array): Uint8Array {
  return Uint8Array.of(...bytes.subarray(8, 12), 0, 1);
}

/** A router asked by NAT-PMP. */
export class NatPmpRouter implements Router {
  readonly protocol = "nat-pmp";
  readonly gateway: string;
  readonly #socket: ControlSocket;
  readonly #wanted: Wanted;
  readonly #epoch: EpochTime;
  #external: Endpoint | undefined;

  private constructor(socket: ControlSocket, gateway: string, wanted: Wanted, host: MappingHost) {
    this.#socket = socket;
    this.gateway = gateway;
    this.#wanted = wanted;
    this.#epoch = new EpochTime("nat-pmp", host.clock);
  }

  /** Undefined where no packet may or can be sent there. */
  static open(gateway: Endpoint, wanted: Wanted, host: MappingHost): NatPmpRouter | undefined {
    const socket = ControlSocket.open(wanted.internal, gateway, host);
    return socket && new NatPmpRouter(socket, gateway.host, wanted, host);
  }

  async map(lease?: Lease): Promise<Asked> {
    const address = await this.#askAddress();
    if (address === undefined) return { outcome: "silent", reason: "no answer" };
    if (address.external === undefined) return refused(address.result);
    if (address.external.scope === "none") {
      return { outcome: "refused", reason: "it names no external address" };
    }
    const { internal } = this.#wanted;
    const wish = lease?.external.port ?? internal.port;
    const mapping = await this.#map(wish, LEASE_S, TRIES);
    if (mapping === undefined) return { outcome: "silent", reason: "no answer to a mapping" };
    this.#epoch.note(mapping.epochS);
    if (mapping.result !== 0) return refused(mapping.result);
    if (mapping.externalPort === 0 || mapping.lifetimeS < MIN_LEASE_S) {
      const reason = `it grants port ${mapping.externalPort} for ${mapping.lifetimeS} s`;
      return { outcome: "refused", reason };
    }
    const { protocol, gateway } = this;
    this.#external = address.external;
    const external = address.external.withPort(mapping.externalPort);
    return {
      outcome: "leased",
      lease: { protocol, gateway, internal, external, seconds: mapping.lifetimeS },
    };
  }

  /** Whether it speaks the protocol. */
  async answers(): Promise<boolean> {
    return await this.#askAddress() !== undefined;
  }

  async check(): Promise<Checked> {
    const known = this.#external;
    const response = await this.#askAddress();
    if (response === undefined) return "silent";
    const isSame = known !== undefined && response.external?.sameAddress(known) === true;
    return isSame && response.isContinuous ? "kept" : "lost";
  }

  async release(): Promise<void> {
    await this.#map(0, 0, 2);
  }

  async #askAddress() {
    const response = await this.#socket.ask(addressRequest(), (bytes) => {
      const response = readResponse(bytes);
      return response?.kind === "address" ? response : undefined;
    });
    return response && { ...response, isContinuous: this.#epoch.note(response.epochS) };
  }

  #map(externalPort: number, lifetimeS: number, tries: number) {
    const { port } = this.#wanted.internal;
    return this.#socket.ask(mapRequest(port, externalPort, lifetimeS), (bytes) => {
      const response = readResponse(bytes);
      if (response?.kind !== "mapping") return undefined;
      return (response.internalPort ?? port) === port ? response : undefined;
    }, tries);
  }

  close(): void {
    this.#socket.close();
  }
}

function refused(result: number): Asked {
  return { outcome: "refused", reason: RESULTS[result] ?? `error ${result}` };
}
