// UDP sockets that deliver received datagrams and send through a bounded queue.

import { hostPortText } from "../../config/addresses.ts";
import { isAbsent, LOOPBACKS } from "./loopback.ts";
import { bindFailure } from "./bind_failure.ts";
import { Endpoint, type Family } from "../../krpc/endpoint.ts";
import { BATCH, bindToInterface, MessageBatch, SEND_BYTES } from "./message_batch.ts";
import { type PacketSeal, SEAL_BYTES } from "./packet_seal.ts";

/** Thrown if a UDP socket can't be bound. The message is one line for the user. */
export class BindError extends Error {
  override readonly name = "BindError";
}

/** Datagrams longer than this arrive truncated and are rejected. KRPC messages are far shorter. */
const RECEIVE_BYTES = 2048;

/** Maximum number of datagrams that wait to be sent through one socket. Further ones are dropped, as on a busy link. */
const MAX_SENDING = 1024;

/**
 * Maximum number of free send buffers that all sockets keep for reuse. One busy socket needs this
 * many, which are 1.5 MB.
 */
const MAX_FREE_SLOTS = MAX_SENDING;

/** Maximum number of batches received in one iteration of the event loop: a few milliseconds of work. */
const MAX_BATCHES = 16;

/**
 * Without batches, one in this many receives is reported to `onReceive`. Under load, these are enough to notice within
 * milliseconds that the node can't keep up.
 */
const SAMPLED_RECEIVES = 16;

/**
 * The number of microtasks after which a receive counts as waiting. Deno 2.4 and 2.9 deliver a
 * datagram that has already arrived after two microtasks.
 */
const MAX_HOPS = 5;

/** Pause after a failed receive, so that a socket that keeps failing does not use up the CPU. */
const RECEIVE_PAUSE_MS = 100;

export interface UdpOptions {
  /** The address to bind. `0.0.0.0` and `::` both bind all addresses, including IPv6 addresses if there are any. */
  readonly host: string;
  /** The port to bind; 0 means any free port. */
  readonly port: number;
  /** The only interface through which datagrams leave and arrive. */
  readonly interfaceName?: string;
  /** Whether other sockets of this program may use the port too, at other addresses (SO_REUSEADDR). */
  readonly reuseAddress?: boolean;
  /**
   * The only address family that the socket serves, if it is bound to all addresses; undefined if it serves both
   * families.
   */
  readonly onlyFamily?: Family;
  /** Whether to handle a datagram of `bytes` bytes from a sender. By default, all are handled. */
  readonly allows?: (from: Endpoint, bytes: number) => boolean;
  /** Seals sent datagrams, and opens received ones. Without it, datagrams are sent as they are. */
  readonly seal?: PacketSeal;
  /** Called with each datagram. The bytes are overwritten after the call. Must not throw. */
  readonly receive: (datagram: Uint8Array, from: Endpoint) => void;
  /** Whether to receive and send many datagrams at once, if possible (`MessageBatch`). This uses 115 kB of memory. */
  readonly inBatches?: boolean;
  /**
   * Called for all receives or a sample of them, with the estimated milliseconds for which the socket waited for
   * datagrams since the last call. The sum estimates the total waiting time.
   */
  readonly onReceive?: (waitedMs: number) => void;
  /** Called when a datagram is dropped because it is too long, or too many wait to be sent. */
  readonly onOverflow: () => void;
  /** Called with the error if the system refuses to send a datagram, for example without a route. */
  readonly onRefused?: (error: unknown, to: Endpoint) => void;
}

interface Slot {
  readonly buffer: Uint8Array;
  /** The socket that is sending from this buffer. */
  socket: UdpSocket | undefined;
  to: Endpoint | undefined;
  readonly release: () => void;
  readonly fail: (error: unknown) => void;
}

/** Free send buffers, shared by all sockets: a socket that rarely sends does not need to keep a buffer. */
const FREE_SLOTS: Slot[] = [];

/**
 * Restricts a socket to an interface. If that fails, closes the socket and throws a BindError, because the socket
 * would use all interfaces.
 */
function keepToInterface(conn: Deno.DatagramConn, name: string | undefined): void {
  if (name === undefined || bindToInterface(conn.addr as Deno.NetAddr, name)) return;
  conn.close();
  throw new BindError(
    `P2P_INTERFACE ${name}: the socket can't be restricted to this interface: check its name (ip link lists all); ` +
      "this also needs Linux 5.7 or newer, and the permission to call the C library",
  );
}

/** One bound socket, which serves IPv4, IPv6 or both. */
export class UdpSocket {
  readonly families: readonly Family[];
  readonly port: number;
  readonly #conn: Deno.DatagramConn;
  readonly #options: UdpOptions;
  readonly #isDual: boolean;
  #sending = 0;
  /**
   * The sender of the datagram that is being handled. `#senderAddress` is the same address in the
   * form that Deno uses.
   */
  #sender: Endpoint | undefined;
  #senderAddress: Deno.NetAddr | undefined;
  readonly #batch: MessageBatch | undefined;
  #willFlush = false;
  #isStarted = false;
  #closed = false;
  /** Called when the current receive ends. Defined only while `close` waits for the receive to end. */
  #onEnd: (() => void) | undefined;
  /** The number of receives so far. */
  #receives = 0;
  /**
   * The time at which the socket began to wait for a datagram; undefined if it is not waiting, or without `onReceive`.
   */
  #waitsSince: number | undefined;
  readonly #buffer = new Uint8Array(RECEIVE_BYTES);
  readonly #onReceived = (received: [Uint8Array, Deno.Addr]) => this.#deliver(received);
  readonly #onFailed = () => this.#pause();

  private constructor(conn: Deno.DatagramConn, options: UdpOptions) {
    const { hostname, port } = conn.addr as Deno.NetAddr;
    this.#conn = conn;
    this.#options = options;
    this.port = port;
    this.#isDual = hostname === "::" && options.onlyFamily === undefined;
    this.families = this.#isDual ? [4, 6] : hostname.includes(":") ? [6] : [4];
    this.#batch = options.inBatches ? MessageBatch.of(conn.addr as Deno.NetAddr) : undefined;
  }

  /**
   * Opens a socket and binds it. Throws a BindError if the port is in use, or if this machine does
   * not have the address.
   */
  static bind(options: UdpOptions): UdpSocket {
    const { host, port, reuseAddress, onlyFamily } = options;
    // A socket on :: receives IPv4 too. Without IPv6, binding to :: fails, so try 0.0.0.0 next.
    const hosts: readonly string[] = host === "0.0.0.0" && onlyFamily === undefined
      ? ["::", host]
      : host === LOOPBACKS[0]
      ? LOOPBACKS
      : [host];
    let failure: unknown;
    for (const hostname of hosts) {
      try {
        const address = { transport: "udp", hostname, port, reuseAddress } as const;
        const conn = Deno.listenDatagram(address);
        keepToInterface(conn, options.interfaceName);
        return new UdpSocket(conn, options);
      } catch (error) {
        if (error instanceof BindError) throw error;
        failure ??= error;
        // Don't try the next address if the port is in use, or if this machine has the requested
        // loopback address.
        if (host === LOOPBACKS[0] ? !isAbsent(error) : error instanceof Deno.errors.AddrInUse) {
          break;
        }
      }
    }
    throw new BindError(bindFailure(failure, { prefix: "P2P", host, port }), { cause: failure });
  }

  /** The address to which the socket is bound. `::` and `0.0.0.0` mean all addresses. */
  get hostname(): string {
    return (this.#conn.addr as Deno.NetAddr).hostname;
  }

  /** The bound address and port as a user would write them. */
  get address(): string {
    return hostPortText({ host: this.hostname, port: this.port });
  }

  get isInBatches(): boolean {
    return this.#batch !== undefined;
  }

  start(): void {
    this.#isStarted = true;
    this.#receive();
  }

  /** Copies a datagram and sends it without waiting. A datagram that can't be sent is lost. */
  send(datagram: Uint8Array, to: Endpoint): void {
    const { seal } = this.#options;
    if (seal === undefined) return this.#send(datagram, to);
    if (datagram.length > SEND_BYTES - SEAL_BYTES) return this.#options.onOverflow();
    this.#send(seal.seal(datagram, to), to);
  }

  #send(datagram: Uint8Array, to: Endpoint): void {
    const batch = this.#batch;
    if (batch === undefined || this.#closed || !batch.accepts(datagram, to)) {
      return this.#sendAlone(datagram, to);
    }
    if (!batch.add(datagram, to)) {
      batch.flush(this.#sendAlone);
      batch.add(datagram, to);
    }
    if (this.#willFlush) return;
    this.#willFlush = true;
    queueMicrotask(this.#flush);
  }

  readonly #flush = (): void => {
    this.#willFlush = false;
    if (!this.#closed) this.#batch!.flush(this.#sendAlone);
  };

  readonly #sendAlone = (datagram: Uint8Array, to: Endpoint): void => {
    if (this.#sending >= MAX_SENDING || datagram.length > SEND_BYTES) {
      return this.#options.onOverflow();
    }
    this.#sending++;
    const slot = FREE_SLOTS.pop() ?? this.#newSlot();
    slot.socket = this;
    slot.to = to;
    slot.buffer.set(datagram);
    // If this is the reply to a query, reuse the query's address object: creating an object costs more than this
    // comparison.
    const address = to === this.#sender && this.#senderAddress !== undefined
      ? this.#senderAddress
      : this.#addressOf(to);
    this.#conn.send(slot.buffer.subarray(0, datagram.length), address)
      .then(slot.release, slot.fail);
  };

  #addressOf({ family, host, port }: Endpoint): Deno.NetAddr {
    const hostname = this.#isDual && family === 4 ? `::ffff:${host}` : host;
    return { transport: "udp", hostname, port };
  }

  /** Closes the socket. Resolves when no more datagrams will be delivered. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#batch?.flush(this.#sendAlone);
    this.#closed = true;
    const ended = this.#isStarted && new Promise<void>((resolve) => this.#onEnd = resolve);
    this.#conn.close();
    await ended;
  }

  #newSlot(): Slot {
    const slot: Slot = {
      buffer: new Uint8Array(SEND_BYTES),
      socket: undefined,
      to: undefined,
      fail: (error) => {
        const { socket, to } = slot;
        slot.release();
        if (!socket!.#closed) socket!.#options.onRefused?.(error, to!);
      },
      release: () => {
        slot.socket!.#sending--;
        slot.socket = slot.to = undefined;
        if (FREE_SLOTS.length < MAX_FREE_SLOTS) FREE_SLOTS.push(slot);
      },
    };
    return slot;
  }

  /**
   * Starts a receive. Two receives at a time would be slower, and an `await` loop would keep a
   * datagram's objects in memory until the next datagram.
   */
  #receive(): void {
    if (this.#closed) return this.#onEnd!();
    this.#conn.receive(this.#buffer).then(this.#onReceived, this.#onFailed);
    this.#receives++;
    if (this.#options.onReceive === undefined) return;
    if (this.#batch !== undefined) this.#waitsSince = performance.now();
    else if (this.#receives % SAMPLED_RECEIVES === 0) this.#sample(this.#options.onReceive);
  }

  /** Finds out whether the current receive has to wait. A datagram that has arrived is delivered within microtasks. */
  #sample(onReceive: (waitedMs: number) => void): void {
    const receive = this.#receives;
    let hops = 0;
    const hop = () => {
      if (this.#receives !== receive) onReceive(0);
      else if (++hops < MAX_HOPS) queueMicrotask(hop);
      else this.#waitsSince = performance.now();
    };
    queueMicrotask(hop);
  }

  #endWait(since: number): void {
    const factor = this.#batch === undefined ? SAMPLED_RECEIVES : 1;
    this.#options.onReceive?.(factor * (performance.now() - since));
    this.#waitsSince = undefined;
  }

  #deliver([datagram, address]: [Uint8Array, Deno.Addr]): void {
    if (this.#waitsSince !== undefined) this.#endWait(this.#waitsSince);
    const { hostname, port } = address as Deno.NetAddr;
    const from = Endpoint.parse(hostname, port);
    if (from !== undefined) {
      this.#sender = from;
      this.#senderAddress = address as Deno.NetAddr;
      this.#accept(datagram, from);
      this.#sender = this.#senderAddress = undefined;
    }
    if (this.#batch !== undefined) this.#deliverWaiting(this.#batch);
    this.#receive();
  }

  #accept(datagram: Uint8Array, from: Endpoint): void {
    const { allows, seal, receive } = this.#options;
    if (allows !== undefined && !allows(from, datagram.length)) return;
    if (seal === undefined) return receive(datagram, from);
    const message = seal.open(datagram, from, (packet) => this.#send(packet, from));
    if (message !== undefined) receive(message, from);
  }

  /** Delivers the datagrams that have already arrived and wait in the buffer of the system. */
  #deliverWaiting(batch: MessageBatch): void {
    for (let n = 0; n < MAX_BATCHES && !this.#closed; n++) {
      const count = batch.receive();
      for (let i = 0; i < count; i++) this.#accept(batch.datagram(i), batch.sender(i));
      // Send the answers before receiving more, as peers wait for them.
      if (!this.#closed) batch.flush(this.#sendAlone);
      if (count === BATCH) this.#options.onReceive?.(0);
      if (count === 0) return;
    }
  }

  /**
   * Receives again after a pause. If a sent datagram could not be delivered, some systems make the next receive fail,
   * but the socket stays usable.
   */
  #pause(): void {
    if (this.#closed) this.#receive();
    else setTimeout(() => this.#receive(), RECEIVE_PAUSE_MS);
  }
}
