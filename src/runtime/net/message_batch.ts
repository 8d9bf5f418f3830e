// Receives or sends many datagrams with one Linux system call, recvmmsg or sendmmsg. One call to Deno's own socket
// costs more CPU time than answering a query. Needs permission to call the C library (`--allow-ffi` for LIBC_PATHS).
// main.ts opens the library and gives up the permission before it loads any other module, so this module must import
// nothing but our own code.

import { Endpoint } from "../../krpc/endpoint.ts";
import { putWord, word } from "../../krpc/id.ts";

/** The paths of the C library in various distributions. */
export const LIBC_PATHS: readonly string[] = [
  "/lib/x86_64-linux-gnu/libc.so.6",
  "/lib/aarch64-linux-gnu/libc.so.6",
  "/lib64/libc.so.6",
  "/usr/lib/libc.so.6",
];

/**
 * Maximum number of datagrams per system call. A larger batch would delay the first reply, and save little more CPU
 * time.
 */
export const BATCH = 32;

/** Buffer size for a received datagram. Longer datagrams arrive truncated, as in `UdpSocket`. */
const RECEIVE_BYTES = 2048;

/** Buffer size for a sent datagram: larger than the longest message that the core sends. */
export const SEND_BYTES = 1536;

/** Sizes of `struct sockaddr_in` and `struct sockaddr_in6`. The larger one is reserved for every address. */
const IPV4_BYTES = 16, ADDRESS_BYTES = 28;

/** Linux constants, the same on every architecture that Deno supports. */
const AF_INET = 2, AF_INET6 = 10, MSG_DONTWAIT = 0x40, SOL_SOCKET = 1, SO_TYPE = 3, SOCK_DGRAM = 2;

/** Sizes of `struct mmsghdr` and `struct iovec`, each in 64-bit words and in 32-bit half words. */
const HEADER_WORDS = 8, HEADER_HALVES = 16, VECTOR_WORDS = 2, VECTOR_HALVES = 4;

/** Offsets in 32-bit half words: the address and datagram lengths in `mmsghdr`, and the buffer length in `iovec`. */
const ADDRESS_LENGTH = 2, DATAGRAM_LENGTH = 14, BUFFER_LENGTH = 2;

/** The search for the socket's file descriptor ends at this number. */
const MAX_DESCRIPTOR = 65_536;

const SYMBOLS = {
  recvmmsg: { parameters: ["i32", "buffer", "u32", "i32", "buffer"], result: "i32" },
  sendmmsg: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  // Used only to read the signal setting that this process has inherited.
  sigaction: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  // Used only to restrict a socket to an interface.
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  // Used only to get the address of a buffer, because memmove returns its first argument.
  // Deno.UnsafePointer would need permission for all libraries.
  memmove: { parameters: ["buffer", "buffer", "usize"], result: "u64" },
} as const;

type Library = Deno.DynamicLibrary<typeof SYMBOLS>;
type Libc = Library["symbols"];

let library: Library | undefined;
let isHangupIgnored = false;

/**
 * Opens the C library, if this is permitted, and then permanently gives up the permission to open
 * libraries. Batches are possible only after this call.
 */
export function openLibrary(): void {
  library ??= openLibc();
  // Read the inherited setting now, because Deno replaces it as soon as the program listens for any
  // signal.
  if (library !== undefined) isHangupIgnored = isIgnored(library.symbols, SIGHUP);
  Deno.permissions.revokeSync({ name: "ffi" });
}

/** The size of `struct sigaction` in bytes, or more. The handler comes first. */
const SIGACTION_BYTES = 256;

/** The value of the handler that means "ignore this signal" (SIG_IGN). */
const SIG_IGN = 1n;

const SIGHUP = 1;

/** Whether this process was started with SIGHUP ignored, as by nohup. False if the C library could not be opened. */
export function wasHangupIgnored(): boolean {
  return isHangupIgnored;
}

function isIgnored(libc: Libc, signal: number): boolean {
  const action = new BigUint64Array(SIGACTION_BYTES / 8);
  const result = libc.sigaction(signal, null, new Uint8Array(action.buffer));
  return result === 0 && action[0] === SIG_IGN;
}

/** The socket option that restricts a socket to one interface. Since Linux 5.7, it needs no privilege. */
const SO_BINDTODEVICE = 25;

/** Restricts the UDP socket at this address to one interface. Returns whether that worked. */
export function bindToInterface(address: Deno.NetAddr, name: string): boolean {
  const libc = library?.symbols;
  const descriptor = libc && descriptorOf(libc, address);
  if (descriptor === undefined) return false;
  const bytes = new TextEncoder().encode(`${name}\0`);
  return libc!.setsockopt(descriptor, SOL_SOCKET, SO_BINDTODEVICE, bytes, bytes.length) === 0;
}

/** Called with each datagram that could not be sent in a batch. */
export type Unsent = (datagram: Uint8Array, to: Endpoint) => void;

/**
 * Sends or receives many datagrams per call, using the socket's descriptor. Call no method once the
 * socket is closed, because the descriptor may then belong to another file. Datagrams that were not
 * flushed are lost.
 */
export class MessageBatch {
  readonly #libc: Libc;
  readonly #received: BatchMemory;
  readonly #sending: BatchMemory;
  readonly #recipients: Endpoint[] = [];

  private constructor(
    libc: Libc,
    private readonly descriptor: number,
    private readonly isIpv6: boolean,
  ) {
    this.#libc = libc;
    this.#received = new BatchMemory(libc, RECEIVE_BYTES);
    this.#sending = new BatchMemory(libc, SEND_BYTES);
    const { halves } = this.#sending;
    for (let i = 0; i < BATCH; i++) {
      halves[HEADER_HALVES * i + ADDRESS_LENGTH] = isIpv6 ? ADDRESS_BYTES : IPV4_BYTES;
    }
  }

  /** Whether this program has opened the C library. */
  static get isPossible(): boolean {
    return library !== undefined;
  }

  /**
   * A batch for the socket bound to this address. Undefined if the program has not opened the C library, or the
   * socket's descriptor is not found.
   */
  static of(address: Deno.NetAddr): MessageBatch | undefined {
    if (library === undefined) return undefined;
    const descriptor = descriptorOf(library.symbols, address);
    if (descriptor === undefined) return undefined;
    return new MessageBatch(library.symbols, descriptor, address.hostname.includes(":"));
  }

  /** Receives the datagrams that have already arrived, at most {@link BATCH}, and returns their number. */
  receive(): number {
    const { headers, halves, vectorHalves } = this.#received;
    for (let i = 0; i < BATCH; i++) {
      halves[HEADER_HALVES * i + ADDRESS_LENGTH] = ADDRESS_BYTES;
      vectorHalves[VECTOR_HALVES * i + BUFFER_LENGTH] = RECEIVE_BYTES;
    }
    // recvmmsg returns a negative number if no datagram has arrived. Other errors are reported by
    // Deno's own receive.
    return Math.max(
      0,
      this.#libc.recvmmsg(this.descriptor, headers, BATCH, MSG_DONTWAIT, null),
    );
  }

  /** Returns the received datagram with index `i`. The next `receive` overwrites it. */
  datagram(i: number): Uint8Array {
    const { buffers, halves } = this.#received;
    const at = i * RECEIVE_BYTES;
    return buffers.subarray(at, at + halves[HEADER_HALVES * i + DATAGRAM_LENGTH]);
  }

  sender(i: number): Endpoint {
    return readAddress(this.#received.addresses, i * ADDRESS_BYTES);
  }

  /** Whether the datagram's length and the address family allow sending in a batch. */
  accepts(datagram: Uint8Array, to: Endpoint): boolean {
    return datagram.length <= SEND_BYTES && (this.isIpv6 || to.family === 4);
  }

  /** Adds a copy of a datagram that {@link accepts} permits, for the next {@link flush}. False if the batch is full. */
  add(datagram: Uint8Array, to: Endpoint): boolean {
    const i = this.#recipients.length;
    if (i === BATCH) return false;
    const { buffers, addresses, vectorHalves } = this.#sending;
    buffers.set(datagram, i * SEND_BYTES);
    vectorHalves[VECTOR_HALVES * i + BUFFER_LENGTH] = datagram.length;
    if (this.isIpv6) writeIpv6(addresses, i * ADDRESS_BYTES, to);
    else writeIpv4(addresses, i * ADDRESS_BYTES, to);
    this.#recipients.push(to);
    return true;
  }

  /**
   * Sends all added datagrams. Calls `unsent` with each datagram that the system rejects, for example if its buffer
   * is full.
   */
  flush(unsent: Unsent): void {
    const { headers, buffers, vectorHalves } = this.#sending;
    const count = this.#recipients.length;
    let sent = 0;
    while (sent < count) {
      const rest = sent === 0
        ? headers
        : headers.subarray(sent * HEADER_WORDS, BATCH * HEADER_WORDS);
      const taken = this.#libc.sendmmsg(this.descriptor, rest, count - sent, MSG_DONTWAIT);
      if (taken > 0) {
        sent += taken;
        continue;
      }
      const at = sent * SEND_BYTES;
      const length = vectorHalves[VECTOR_HALVES * sent + BUFFER_LENGTH];
      unsent(buffers.subarray(at, at + length), this.#recipients[sent]);
      sent++;
    }
    this.#recipients.length = 0;
  }
}

/** The memory of a batch: a buffer and an address for each datagram, and the C structures that point to them. */
class BatchMemory {
  readonly buffers: Uint8Array<ArrayBuffer>;
  readonly addresses = new Uint8Array(BATCH * ADDRESS_BYTES);
  readonly headers = new BigUint64Array(BATCH * HEADER_WORDS);
  readonly halves = new Uint32Array(this.headers.buffer);
  readonly vectorHalves: Uint32Array;

  constructor(libc: Libc, size: number) {
    this.buffers = new Uint8Array(BATCH * size);
    const vectors = new BigUint64Array(BATCH * VECTOR_WORDS);
    this.vectorHalves = new Uint32Array(vectors.buffer);
    const pointerTo = (of: Uint8Array<ArrayBuffer> | BigUint64Array<ArrayBuffer>) =>
      BigInt(libc.memmove(of, of, 0n));
    const buffers = pointerTo(this.buffers), addresses = pointerTo(this.addresses);
    const firstVector = pointerTo(vectors);
    for (let i = 0; i < BATCH; i++) {
      vectors[VECTOR_WORDS * i] = buffers + BigInt(i * size);
      vectors[VECTOR_WORDS * i + 1] = BigInt(size);
      this.headers.set([
        addresses + BigInt(i * ADDRESS_BYTES),
        BigInt(ADDRESS_BYTES),
        firstVector + BigInt(8 * VECTOR_WORDS * i),
        1n,
      ], HEADER_WORDS * i);
    }
  }
}

/** Offset of the address in `struct sockaddr_in6`. In `struct sockaddr_in`, the address comes right after the port. */
const IPV6_AT = 8;

function readAddress(bytes: Uint8Array, at: number): Endpoint {
  const port = (bytes[at + 2] << 8) | bytes[at + 3];
  return bytes[at] === AF_INET ? Endpoint.ofIpv4(word(bytes, at + 4), port) : Endpoint.ofIpv6(
    word(bytes, at + IPV6_AT),
    word(bytes, at + IPV6_AT + 4),
    word(bytes, at + IPV6_AT + 8),
    word(bytes, at + IPV6_AT + 12),
    port,
  );
}

/**
 * Writes the address for an IPv4 socket. Its family is in machine byte order, which is little-endian on all of Deno's
 * platforms. The other fields are in network byte order.
 */
function writeIpv4(bytes: Uint8Array, at: number, { a, port }: Endpoint): void {
  putWord(bytes, at, AF_INET << 24 | port);
  putWord(bytes, at + 4, a);
}

/** Writes the address for an IPv6 socket. An IPv4 address is written as an IPv4-mapped IPv6 address. */
function writeIpv6(bytes: Uint8Array, at: number, to: Endpoint): void {
  putWord(bytes, at, AF_INET6 << 24 | to.port);
  const isMapped = to.family === 4;
  putWord(bytes, at + 4, 0); // the flow label
  putWord(bytes, at + IPV6_AT, isMapped ? 0 : to.a);
  putWord(bytes, at + IPV6_AT + 4, to.b);
  putWord(bytes, at + IPV6_AT + 8, isMapped ? 0xffff : to.c);
  putWord(bytes, at + IPV6_AT + 12, isMapped ? to.a : to.d);
  putWord(bytes, at + IPV6_AT + 16, 0); // the zone index
}

/** Opens the C library. Undefined if the permission was not granted or has been given up. */
function openLibc(): Library | undefined {
  if (Deno.build.os !== "linux") return undefined;
  for (const path of LIBC_PATHS) {
    try {
      // Check the permission first. Otherwise, Deno would ask the user for it on a terminal.
      if (Deno.permissions.querySync({ name: "ffi", path }).state !== "granted") continue;
      return Deno.dlopen(path, SYMBOLS);
    } catch {
      // Try the next path, because this system has the C library elsewhere.
    }
  }
}

/** Finds the file descriptor of the UDP socket bound to this address. Deno does not expose the descriptor. */
function descriptorOf(libc: Libc, { hostname, port }: Deno.NetAddr): number | undefined {
  const bound = Endpoint.parse(hostname, port)!;
  const address = new Uint8Array(ADDRESS_BYTES), size = new Uint32Array(1);
  const value = new Uint32Array(1);
  for (let descriptor = 0; descriptor < MAX_DESCRIPTOR; descriptor++) {
    size[0] = ADDRESS_BYTES;
    if (libc.getsockname(descriptor, address, size) !== 0) continue;
    if (address[0] !== AF_INET && address[0] !== AF_INET6) continue;
    if (!readAddress(address, 0).equals(bound)) continue;
    // Skip sockets of other types: the API's TCP socket may have the same port number.
    size[0] = value.byteLength;
    const isKnown = libc.getsockopt(descriptor, SOL_SOCKET, SO_TYPE, value, size) === 0;
    if (isKnown && value[0] === SOCK_DGRAM) return descriptor;
  }
}
