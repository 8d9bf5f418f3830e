// PCP, the Port Control Protocol (RFC 6887): its messages, and a router that speaks it.

import { Endpoint, type Family } from "../../krpc/endpoint.ts";
import { ControlSocket, TRIES } from "./control_socket.ts";
import { EpochTime } from "./epoch_time.ts";
import {
  type Asked,
  type Checked,
  clean,
  type Lease,
  LEASE_S,
  type MappingHost,
  MIN_LEASE_S,
  type Router,
  type Wanted,
} from "./router.ts";

const VERSION = 2, ANNOUNCE = 0, MAP = 1, RESPONSE = 0x80, UDP = 17;

/** Bytes of the common header, and of MAP's part after it. */
const HEADER_BYTES = 24, MAP_BYTES = 36, NONCE_BYTES = 12, ADDRESS_BYTES = 16;

/** Section 7.4. */
const RESULTS = [
  "success",
  "unsupported version",
  "not authorized",
  "malformed request",
  "unsupported opcode",
  "unsupported option",
  "malformed option",
  "network failure: it has no external address",
  "no resources",
  "unsupported protocol",
  "too many mappings of this user",
  "cannot provide the external port",
  "another NAT lies between",
  "excessive remote peers",
];

/** A response of the server. */
export interface PcpResponse {
  readonly opcode: number;
  readonly result: number;
  readonly lifetimeS: number;
  readonly epochS: number;
  /** Of a MAP response that has its whole body. */
  readonly mapping:
    | {
      readonly nonce: Uint8Array;
      readonly protocol: number;
      readonly internalPort: number;
      readonly external: Endpoint;
    }
    | undefined;
}

/** A request for a mapping; `external`: the one that we would like, or have. Lifetime 0 deletes it. */
export function mapRequest(
  { internal, nonce }: Wanted,
  external: Endpoint | undefined,
  lifetimeS: number,
): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + MAP_BYTES), view = new DataView(bytes.buffer);
  writeHeader(view, MAP, lifetimeS, internal);
  bytes.set(nonce, 24);
  bytes[36] = UDP;
  view.setUint16(40, internal.port);
  if (lifetimeS > 0) view.setUint16(42, (external ?? internal).port);
  writeAddress(bytes, 44, lifetimeS > 0 ? external : undefined, internal.family);
  return bytes;
}

/** Asks for the server's epoch time alone (section 14.1). */
export function announceRequest({ internal }: Wanted): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  writeHeader(new DataView(bytes.buffer), ANNOUNCE, 0, internal);
  return bytes;
}

function writeHeader(view: DataView, opcode: number, lifetimeS: number, client: Endpoint): void {
  view.setUint8(0, VERSION);
  view.setUint8(1, opcode);
  view.setUint32(4, lifetimeS);
  writeAddress(new Uint8Array(view.buffer), 8, client, client.family);
}

/** IPv4 as an IPv4-mapped address; undefined as that family's zeros (section 5). */
function writeAddress(
  bytes: Uint8Array,
  at: number,
  address: Endpoint | undefined,
  family: Family,
): void {
  if (family === 4) bytes[at + 10] = bytes[at + 11] = 0xff;
  const compact = new Uint8Array(Endpoint.compactLength(family));
  address?.write(compact, 0);
  bytes.set(compact.subarray(0, -2), at + ADDRESS_BYTES - compact.length + 2);
}

/** Reads a response; undefined where it is none, of whatever length and content. */
export function readResponse(bytes: Uint8Array): PcpResponse | undefined {
  if (bytes.length < HEADER_BYTES || bytes.length % 4 !== 0) return undefined;
  if (bytes[0] !== VERSION || (bytes[1] & RESPONSE) === 0) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const opcode = bytes[1] & 0x7f;
  const hasMapping = opcode === MAP && bytes.length >= HEADER_BYTES + MAP_BYTES;
  return {
    opcode,
    result: bytes[3],
    lifetimeS: view.getUint32(4),
    epochS: view.getUint32(8),
    mapping: hasMapping
      ? {
        nonce: bytes.slice(24, 24 + NONCE_BYTES),
        protocol: bytes[36],
        internalPort: view.getUint16(40),
        external: readAddress(bytes, 44, view.getUint16(42)),
      }
      : undefined,
  };
}

function readAddress(bytes: Uint8Array, at: number, port: number): Endpoint {
  const compact = new Uint8Array(ADDRESS_BYTES + 2);
  compact.set(bytes.subarray(at, at + ADDRESS_BYTES));
  return Endpoint.read(compact, 0, 6).withPort(port);
}

/** A router asked by PCP. */
export class PcpRouter implements Router {
  readonly protocol = "pcp";
  readonly gateway: string;
  readonly #socket: ControlSocket;
  readonly #wanted: Wanted;
  readonly #epoch: EpochTime;

  private constructor(socket: ControlSocket, gateway: string, wanted: Wanted, host: MappingHost) {
    this.#socket = socket;
    this.gateway = gateway;
    this.#wanted = wanted;
    this.#epoch = new EpochTime("pcp", host.clock);
  }

  /** Undefined where no packet may or can be sent there. */
  static open(gateway: Endpoint, wanted: Wanted, host: MappingHost): PcpRouter | undefined {
    const socket = ControlSocket.open(wanted.internal, gateway, host);
    return socket && new PcpRouter(socket, gateway.host, wanted, host);
  }

  async map(lease?: Lease): Promise<Asked> {
    const response = await this.#map(lease?.external, LEASE_S, TRIES);
    if (response === undefined) return { outcome: "silent", reason: "no answer" };
    this.#epoch.note(response.epochS);
    const { result, mapping, lifetimeS } = response;
    if (result !== 0) {
      return { outcome: "refused", reason: RESULTS[result] ?? `error ${result}` };
    }
    const { internal } = this.#wanted, external = mapping?.external;
    if (
      external === undefined || external.family !== internal.family || external.scope === "none"
    ) {
      return { outcome: "refused", reason: "it names no external address" };
    }
    if (lifetimeS < MIN_LEASE_S) {
      return { outcome: "refused", reason: clean(`it grants ${lifetimeS} s only`) };
    }
    const { protocol, gateway } = this;
    return {
      outcome: "leased",
      lease: { protocol, gateway, internal, external, seconds: lifetimeS },
    };
  }

  /** Whether it speaks the protocol. */
  async answers(): Promise<boolean> {
    return await this.check() !== "silent";
  }

  /** Whatever it answers shows its epoch time. */
  async check(): Promise<Checked> {
    const response = await this.#socket.ask(announceRequest(this.#wanted), readResponse);
    if (response === undefined) return "silent";
    return this.#epoch.note(response.epochS) ? "kept" : "lost";
  }

  async release(): Promise<void> {
    await this.#map(undefined, 0, 2);
  }

  #map(external: Endpoint | undefined, lifetimeS: number, tries: number) {
    const { nonce, internal } = this.#wanted;
    const isOurs = (response: PcpResponse) => {
      if (response.opcode !== MAP) return false;
      const { mapping } = response;
      // Errors may come without the body, success may not.
      if (mapping === undefined) return response.result !== 0;
      return mapping.protocol === UDP && mapping.internalPort === internal.port &&
        mapping.nonce.every((byte, i) => byte === nonce[i]);
    };
    return this.#socket.ask(mapRequest(this.#wanted, external, lifetimeS), (bytes) => {
      const response = readResponse(bytes);
      return response !== undefined && isOurs(response) ? response : undefined;
    }, tries);
  }

  close(): void {
    this.#socket.close();
  }
}
