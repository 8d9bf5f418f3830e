// The node's UDP sockets: datagrams in, one at a time, and out, never more at once than can be held.

import { bindFailure } from "./bind_failure.ts";
import { Endpoint, type Family } from "../krpc/endpoint.ts";
import { MessageBatch, SEND_BYTES } from "./message_batch.ts";

/** A UDP socket can't be opened. The message is one line for the user. */
export class BindError extends Error {
  override readonly name = "BindError";
}

/** The largest datagram taken in whole; KRPC's stay far below. Longer ones arrive cut and fail to decode. */
const RECEIVE_BYTES = 2048;

/** Datagrams of a socket handed to the system and not gone yet; beyond these, new ones are lost, as on a full link. */
const MAX_SENDING = 1024;

/** Slots kept for the next datagrams of whichever socket; those of a burst beyond are given back. */
const SLOTS_KEPT = 128;

/** Batches of datagrams taken before others of the process have their turn: some milliseconds' work. */
const MAX_BATCHES = 16;

/** A pause after a failed receive, lest a socket that fails for good occupies the processor. */
const RECEIVE_PAUSE_MS = 100;

export interface UdpOptions {
  /** The address to bind. `0.0.0.0` and `::` both bind all addresses, of IPv6 too where the machine has it. */
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Sees each datagram, which is overwritten once it returns. Must not throw. */
  readonly receive: (datagram: Uint8Array, from: Endpoint) => void;
  /** Whether many are to be taken and sent at once, where that is possible (`MessageBatch`). It costs 115 kB. */
  readonly inBatches?: boolean;
  /** A datagram was lost because too many wait to be sent. */
  readonly onOverflow: () => void;
}

interface Slot {
  readonly buffer: Uint8Array;
  /** The socket whose datagram it holds. */
  socket: UdpSocket | undefined;
  readonly release: () => void;
}

/** The slots in which nothing waits. Of all sockets: one that sends now and then need not hold any itself. */
const FREE: Slot[] = [];

/** One bound socket, which serves IPv4, IPv6 or both. */
export class UdpSocket {
  readonly families: readonly Family[];
  readonly port: number;
  readonly #conn: Deno.DatagramConn;
  readonly #options: UdpOptions;
  readonly #isDual: boolean;
  #sending = 0;
  /** Who sent the datagram in hand, in both forms. */
  #asker: Endpoint | undefined;
  #askerAddress: Deno.NetAddr | undefined;
  readonly #batch: MessageBatch | undefined;
  #willFlush = false;
  #isStarted = false;
  #closed = false;
  /** Set while closing waits for the receive under way. */
  #onEnd: (() => void) | undefined;
  readonly #buffer = new Uint8Array(RECEIVE_BYTES);
  readonly #onReceived = (received: [Uint8Array, Deno.Addr]) => this.#deliver(received);
  readonly #onFailed = () => this.#pause();

  private constructor(conn: Deno.DatagramConn, options: UdpOptions) {
    const { hostname, port } = conn.addr as Deno.NetAddr;
    this.#conn = conn;
    this.#options = options;
    this.port = port;
    this.#isDual = hostname === "::";
    this.families = this.#isDual ? [4, 6] : hostname.includes(":") ? [6] : [4];
    this.#batch = options.inBatches ? MessageBatch.open(conn.addr as Deno.NetAddr) : undefined;
  }

  /**
   * Opens a socket and binds it.
   *
   * @throws {BindError} where the port is taken, or the address not this machine's
   */
  static bind(options: UdpOptions): UdpSocket {
    const { host, port } = options;
    // A socket on :: takes IPv4 too; one on 0.0.0.0 beside it would collide.
    const hosts = host === "0.0.0.0" ? ["::", host] : [host];
    let failure: unknown;
    for (const hostname of hosts) {
      try {
        return new UdpSocket(Deno.listenDatagram({ transport: "udp", hostname, port }), options);
      } catch (error) {
        failure = error;
        if (error instanceof Deno.errors.AddrInUse) break; // it is taken for IPv4 as well
      }
    }
    throw new BindError(bindFailure(failure, "P2P", host, port, "can't open the UDP socket"), {
      cause: failure,
    });
  }

  /** The address that the socket is bound to; `::` and `0.0.0.0` stand for all. */
  get hostname(): string {
    return (this.#conn.addr as Deno.NetAddr).hostname;
  }

  /** Where the socket is bound, as a user would write it. */
  get address(): string {
    const { hostname, port } = this.#conn.addr as Deno.NetAddr;
    return hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
  }

  /** Whether datagrams are taken and sent many at once. */
  get isInBatches(): boolean {
    return this.#batch !== undefined;
  }

  /** Starts to deliver datagrams. */
  start(): void {
    this.#isStarted = true;
    this.#receive();
  }

  /** Copies a datagram and sends it, without waiting; what can't be sent is lost. */
  send(datagram: Uint8Array, to: Endpoint): void {
    const batch = this.#batch;
    if (batch === undefined || this.#closed || !batch.takes(datagram, to)) {
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
    const slot = FREE.pop() ?? this.#newSlot();
    slot.socket = this;
    slot.buffer.set(datagram);
    // A reply goes to the very address object that came with the query: making one costs more than the lookup.
    const address = to === this.#asker && this.#askerAddress !== undefined
      ? this.#askerAddress
      : this.#addressOf(to);
    this.#conn.send(slot.buffer.subarray(0, datagram.length), address)
      .then(slot.release, slot.release);
  };

  #addressOf({ family, host, port }: Endpoint): Deno.NetAddr {
    const hostname = this.#isDual && family === 4 ? `::ffff:${host}` : host;
    return { transport: "udp", hostname, port };
  }

  /** Stops; resolves when no more datagrams are delivered. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#batch?.flush(this.#sendAlone);
    this.#closed = true;
    const ended = this.#isStarted && new Promise<void>((resolve) => this.#onEnd = resolve);
    this.#conn.close();
    this.#batch?.close();
    await ended;
  }

  #newSlot(): Slot {
    const slot: Slot = {
      buffer: new Uint8Array(SEND_BYTES),
      socket: undefined,
      release: () => {
        slot.socket!.#sending--;
        slot.socket = undefined;
        if (FREE.length < SLOTS_KEPT) FREE.push(slot);
      },
    };
    return slot;
  }

  /**
   * Asks for the next datagram once the last is handled: the buffer is one, and two at once are slower. Not a loop with
   * `await`: that would hold the last datagram's objects until the next one comes, in each of a process's nodes.
   */
  #receive(): void {
    if (this.#closed) this.#onEnd!();
    else this.#conn.receive(this.#buffer).then(this.#onReceived, this.#onFailed);
  }

  #deliver([datagram, address]: [Uint8Array, Deno.Addr]): void {
    const { hostname, port } = address as Deno.NetAddr;
    const from = Endpoint.parse(hostname, port);
    if (from !== undefined) {
      this.#asker = from;
      this.#askerAddress = address as Deno.NetAddr;
      this.#options.receive(datagram, from);
      this.#asker = this.#askerAddress = undefined;
    }
    if (this.#batch !== undefined) this.#deliverWaiting(this.#batch);
    this.#receive();
  }

  /** What came beside the datagram that Deno told of. */
  #deliverWaiting(batch: MessageBatch): void {
    for (let n = 0; n < MAX_BATCHES && !this.#closed; n++) {
      const count = batch.receive();
      for (let i = 0; i < count; i++) this.#options.receive(batch.datagram(i), batch.sender(i));
      // The answers, before more is taken: whoever asked waits for them.
      if (!this.#closed) batch.flush(this.#sendAlone);
      if (count === 0) return;
    }
  }

  /** On some systems a datagram that bounced shows up as a failure; the socket itself still works. */
  #pause(): void {
    if (this.#closed) this.#receive();
    else setTimeout(() => this.#receive(), RECEIVE_PAUSE_MS);
  }
}
