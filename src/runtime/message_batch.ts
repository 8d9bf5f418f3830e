// Many datagrams with one call each way, by Linux's recvmmsg and sendmmsg: where the program may call into the C library
// (`--allow-ffi` with one of LIBC_PATHS), and nowhere else. Each call by Deno's own socket costs more than serving a query.

import { Endpoint } from "../krpc/endpoint.ts";
import { putWord, word } from "../krpc/id.ts";

/** Where distributions have the C library. Permission for one of these is what turns batches on. */
export const LIBC_PATHS: readonly string[] = [
  "/lib/x86_64-linux-gnu/libc.so.6",
  "/lib/aarch64-linux-gnu/libc.so.6",
  "/lib64/libc.so.6",
  "/usr/lib/libc.so.6",
];

/** Datagrams of one call: with more, the answer to the first waits longer than the saved call is worth. */
const BATCH = 32;

/** Bytes of a received datagram's place: longer ones arrive cut, as in `UdpSocket`. */
const RECEIVE_BYTES = 2048;

/** Bytes of a sent datagram's place: more than any message that the core writes. */
export const SEND_BYTES = 1536;

/** Bytes of `struct sockaddr_in`, and of `struct sockaddr_in6`, which is the room that any address gets. */
const IPV4_BYTES = 16, ADDRESS_BYTES = 28;

/** Of Linux, on every machine that Deno runs on. */
const AF_INET = 2, AF_INET6 = 10, MSG_DONTWAIT = 0x40, SOL_SOCKET = 1, SO_TYPE = 3, SOCK_DGRAM = 2;

/** Words of 64 and of 32 bits in `struct mmsghdr`, and in `struct iovec`. */
const HEADER_WORDS = 8, HEADER_HALVES = 16, VECTOR_WORDS = 2, VECTOR_HALVES = 4;

/** Where in the halves of a header stand the length of the address and of the datagram; in a vector's, of the buffer. */
const ADDRESS_LENGTH = 2, DATAGRAM_LENGTH = 14, BUFFER_LENGTH = 2;

/** Descriptors that are looked through for a socket opened just now. */
const MAX_DESCRIPTOR = 65_536;

const SYMBOLS = {
  recvmmsg: { parameters: ["i32", "buffer", "u32", "i32", "buffer"], result: "i32" },
  sendmmsg: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  // Returns where its first argument is: Deno.UnsafePointer would take the permission for every library.
  memmove: { parameters: ["buffer", "buffer", "usize"], result: "u64" },
} as const;

type Library = Deno.DynamicLibrary<typeof SYMBOLS>;
type Libc = Library["symbols"];

/** What can't be sent at once: by whatever other way there is. */
export type Unsent = (datagram: Uint8Array, to: Endpoint) => void;

/**
 * The datagrams that came with one call, and those that are to go with the next. Of one socket, whose descriptor it
 * borrows: once that is closed none of its methods may be called, but {@link close}.
 */
export class MessageBatch {
  readonly #library: Library;
  readonly #libc: Libc;
  readonly #descriptor: number;
  readonly #isIpv6: boolean;
  readonly #received: Places;
  readonly #sending: Places;
  readonly #recipients: Endpoint[] = [];

  private constructor(library: Library, descriptor: number, isIpv6: boolean) {
    const libc = library.symbols;
    this.#library = library;
    this.#libc = libc;
    this.#descriptor = descriptor;
    this.#isIpv6 = isIpv6;
    this.#received = new Places(libc, RECEIVE_BYTES);
    this.#sending = new Places(libc, SEND_BYTES);
    const { halves } = this.#sending;
    for (let i = 0; i < BATCH; i++) {
      halves[HEADER_HALVES * i + ADDRESS_LENGTH] = isIpv6 ? ADDRESS_BYTES : IPV4_BYTES;
    }
  }

  /** Whether the program may call into the C library at one of its places. */
  static get isPermitted(): boolean {
    return permittedPaths().length > 0;
  }

  /** For the socket bound to this address; undefined where the program may not, or the system can't. */
  static open(address: Deno.NetAddr): MessageBatch | undefined {
    const library = openLibc();
    if (library === undefined) return undefined;
    const descriptor = descriptorOf(library.symbols, address);
    if (descriptor !== undefined) {
      return new MessageBatch(library, descriptor, address.hostname.includes(":"));
    }
    library.close();
  }

  /** Lets go of the library. What was added and not flushed is lost. */
  close(): void {
    this.#library.close();
  }

  /** Takes what waits at the socket, without waiting for more; how many datagrams that were, at most {@link BATCH}. */
  receive(): number {
    const { headers, halves, vectorHalves } = this.#received;
    for (let i = 0; i < BATCH; i++) {
      halves[HEADER_HALVES * i + ADDRESS_LENGTH] = ADDRESS_BYTES;
      vectorHalves[VECTOR_HALVES * i + BUFFER_LENGTH] = RECEIVE_BYTES;
    }
    // Below 0 where nothing waits. Whatever else may be wrong with the socket its own receive tells.
    return Math.max(
      0,
      this.#libc.recvmmsg(this.#descriptor, headers, BATCH, MSG_DONTWAIT, null),
    );
  }

  /** The datagram in place `i` of those received: overwritten by the next call. */
  datagram(i: number): Uint8Array {
    const { buffers, halves } = this.#received;
    const at = i * RECEIVE_BYTES;
    return buffers.subarray(at, at + halves[HEADER_HALVES * i + DATAGRAM_LENGTH]);
  }

  /** Who sent it. */
  sender(i: number): Endpoint {
    return readAddress(this.#received.addresses, i * ADDRESS_BYTES);
  }

  /** Whether it can be sent in a batch: of this length, and to an address that the socket's kind can write. */
  takes(datagram: Uint8Array, to: Endpoint): boolean {
    return datagram.length <= SEND_BYTES && (this.#isIpv6 || to.family === 4);
  }

  /** Copies a datagram that it takes, for {@link flush} to send; false where all places are taken. */
  add(datagram: Uint8Array, to: Endpoint): boolean {
    const i = this.#recipients.length;
    if (i === BATCH) return false;
    const { buffers, addresses, vectorHalves } = this.#sending;
    buffers.set(datagram, i * SEND_BYTES);
    vectorHalves[VECTOR_HALVES * i + BUFFER_LENGTH] = datagram.length;
    writeAddress(addresses, i * ADDRESS_BYTES, to, this.#isIpv6);
    this.#recipients.push(to);
    return true;
  }

  /** Sends all that was added. What the system does not take, for its buffer is full or the address no good, is `unsent`. */
  flush(unsent: Unsent): void {
    const { headers, buffers, vectorHalves } = this.#sending;
    const count = this.#recipients.length;
    let sent = 0;
    while (sent < count) {
      const rest = sent === 0
        ? headers
        : headers.subarray(sent * HEADER_WORDS, BATCH * HEADER_WORDS);
      const taken = this.#libc.sendmmsg(this.#descriptor, rest, count - sent, MSG_DONTWAIT);
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

/** What the system reads and fills: a buffer and an address for each datagram, and the structures that point at them. */
class Places {
  readonly buffers: Uint8Array<ArrayBuffer>;
  readonly addresses = new Uint8Array(BATCH * ADDRESS_BYTES);
  readonly headers = new BigUint64Array(BATCH * HEADER_WORDS);
  readonly halves = new Uint32Array(this.headers.buffer);
  readonly vectorHalves: Uint32Array;

  constructor(libc: Libc, size: number) {
    this.buffers = new Uint8Array(BATCH * size);
    const vectors = new BigUint64Array(BATCH * VECTOR_WORDS);
    this.vectorHalves = new Uint32Array(vectors.buffer);
    const place = (of: Uint8Array<ArrayBuffer> | BigUint64Array<ArrayBuffer>) =>
      BigInt(libc.memmove(of, of, 0n));
    const buffers = place(this.buffers), addresses = place(this.addresses);
    const firstVector = place(vectors);
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

/** The place of an address in `struct sockaddr_in6`; in `struct sockaddr_in` it follows the port. */
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

/** The family stands in the order of the machine, which is little-endian wherever Deno runs; the rest in the network's. */
function writeAddress(bytes: Uint8Array, at: number, to: Endpoint, isIpv6: boolean): void {
  bytes[at] = isIpv6 ? AF_INET6 : AF_INET;
  bytes[at + 1] = 0;
  bytes[at + 2] = to.port >>> 8;
  bytes[at + 3] = to.port;
  if (!isIpv6) return putWord(bytes, at + 4, to.a);
  const isMapped = to.family === 4;
  putWord(bytes, at + 4, 0); // the flow
  putWord(bytes, at + IPV6_AT, isMapped ? 0 : to.a);
  putWord(bytes, at + IPV6_AT + 4, to.b);
  putWord(bytes, at + IPV6_AT + 8, isMapped ? 0xffff : to.c);
  putWord(bytes, at + IPV6_AT + 12, isMapped ? to.a : to.d);
  putWord(bytes, at + IPV6_AT + 16, 0); // the zone
}

function permittedPaths(): string[] {
  if (Deno.build.os !== "linux") return [];
  return LIBC_PATHS.filter((path) =>
    Deno.permissions.querySync({ name: "ffi", path }).state === "granted"
  );
}

/** Undefined where the permission is not granted, or no longer. */
function openLibc(): Library | undefined {
  for (const path of permittedPaths()) {
    try {
      return Deno.dlopen(path, SYMBOLS);
    } catch {
      // it is elsewhere on this system
    }
  }
}

/** Which of the process's descriptors is the UDP socket bound to this address: Deno does not tell. */
function descriptorOf(libc: Libc, { hostname, port }: Deno.NetAddr): number | undefined {
  const bound = Endpoint.parse(hostname, port)!;
  const address = new Uint8Array(ADDRESS_BYTES), size = new Uint32Array(1);
  const value = new Uint32Array(1);
  for (let descriptor = 0; descriptor < MAX_DESCRIPTOR; descriptor++) {
    size[0] = ADDRESS_BYTES;
    if (libc.getsockname(descriptor, address, size) !== 0) continue;
    if (address[0] !== AF_INET && address[0] !== AF_INET6) continue;
    if (!readAddress(address, 0).equals(bound)) continue;
    // The API may have the same port of TCP.
    size[0] = value.byteLength;
    const isKnown = libc.getsockopt(descriptor, SOL_SOCKET, SO_TYPE, value, size) === 0;
    if (isKnown && value[0] === SOCK_DGRAM) return descriptor;
  }
}
