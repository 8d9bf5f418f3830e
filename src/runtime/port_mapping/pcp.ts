// PCP, the Port Control Protocol (RFC 6887): its messages, and routers that speak it.

import { Endpoint, type Family } from "../../krpc/endpoint.ts";
import { ControlRouter, EpochTime, type Grant, RELEASE_TRIES } from "./control_router.ts";
import { type CheckOutcome, LEASE_S, type Wanted } from "./router.ts";

const VERSION = 2, ANNOUNCE = 0, MAP = 1, RESPONSE = 0x80, UDP = 17;

/**
 * The sizes in bytes of the common header, of the part that a MAP message adds to it, and of the nonce in that part.
 */
const HEADER_BYTES = 24, MAP_BYTES = 36, NONCE_BYTES = 12;

/** A request for a mapping, if possible with the address `external`. A lifetime of 0 deletes the mapping. */
export function mapRequest(
  { internal, nonce }: Wanted,
  external: Endpoint | undefined,
  lifetimeS: number,
): Uint8Array {
  const view = header(MAP, lifetimeS, internal), bytes = new Uint8Array(view.buffer);
  bytes.set(nonce, 24);
  bytes[36] = UDP;
  view.setUint16(40, internal.port);
  if (lifetimeS > 0) view.setUint16(42, (external ?? internal).port);
  writeAddress(view, 44, lifetimeS > 0 && external || internal.family);
  return bytes;
}

/** A request for the server's epoch time only (section 14.1). */
export function announceRequest({ internal }: Wanted): Uint8Array {
  return new Uint8Array(header(ANNOUNCE, 0, internal).buffer);
}

/** Creates a message of the right size, with only its header filled in. */
function header(opcode: number, lifetimeS: number, client: Endpoint): DataView<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(HEADER_BYTES + (opcode === MAP ? MAP_BYTES : 0)));
  view.setUint8(0, VERSION);
  view.setUint8(1, opcode);
  view.setUint32(4, lifetimeS);
  writeAddress(view, 8, client);
  return view;
}

/** Writes an address, or the all-zeros address of a family. IPv4 becomes an IPv4-mapped address (section 5). */
function writeAddress(view: DataView, at: number, address: Endpoint | Family): void {
  const { family, a, b, c, d } = typeof address === "object"
    ? address
    : { family: address, a: 0, b: 0, c: 0, d: 0 };
  const words = family === 4 ? [0, 0, 0xffff, a] : [a, b, c, d];
  for (const [i, word] of words.entries()) view.setInt32(at + 4 * i, word);
}

/** Parses arbitrary bytes as a response. Returns undefined if they are no response. */
export function readResponse(bytes: Uint8Array) {
  if (bytes.length < HEADER_BYTES || bytes.length % 4 !== 0) return undefined;
  if (bytes[0] !== VERSION || (bytes[1] & RESPONSE) === 0) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const opcode = bytes[1] & 0x7f, word = (at: number) => view.getInt32(at);
  const hasMapping = opcode === MAP && bytes.length >= HEADER_BYTES + MAP_BYTES;
  return {
    opcode,
    result: bytes[3],
    lifetimeS: view.getUint32(4),
    epochS: view.getUint32(8),
    /** The mapping in the response; undefined if the response is not a complete MAP response. */
    mapping: hasMapping
      ? {
        nonce: bytes.slice(24, 24 + NONCE_BYTES),
        protocol: bytes[36],
        internalPort: view.getUint16(40),
        external: Endpoint.ofIpv6(word(44), word(48), word(52), word(56), view.getUint16(42)),
      }
      : undefined,
  };
}

/** A router that speaks PCP. */
export class PcpRouter extends ControlRouter {
  readonly protocol = "pcp";
  protected readonly epoch = new EpochTime("pcp", this.host.clock);

  /** The meaning of each result code (RFC 6887, section 7.4). */
  protected readonly results = [
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

  /** Checks the mapping through the epoch time. Every answer contains the epoch time, so any request is suitable. */
  async check(): Promise<CheckOutcome> {
    const response = await this.ask(announceRequest(this.wanted), readResponse);
    if (response === undefined) return "silent";
    return this.epoch.note(response.epochS) ? "kept" : "lost";
  }

  async release(): Promise<void> {
    await this.#map(undefined, 0, RELEASE_TRIES);
  }

  protected request(external: Endpoint | undefined): Promise<Grant | undefined> {
    return this.#map(external, LEASE_S);
  }

  #map(external: Endpoint | undefined, lifetimeS: number, tries?: number) {
    const { nonce, internal } = this.wanted;
    return this.ask(mapRequest(this.wanted, external, lifetimeS), (bytes) => {
      const response = readResponse(bytes), mapping = response?.mapping;
      if (response?.opcode !== MAP) return undefined;
      // A response without a mapping must be an error.
      const isOurs = mapping === undefined
        ? response.result !== 0
        : mapping.protocol === UDP && mapping.internalPort === internal.port &&
          mapping.nonce.every((byte, i) => byte === nonce[i]);
      return isOurs ? { ...response, external: mapping?.external } : undefined;
    }, tries);
  }
}
