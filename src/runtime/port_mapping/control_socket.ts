// Questions to a router's port control service over UDP, for PCP and NAT-PMP alike: sent again until answered.

import type { Endpoint } from "../../krpc/endpoint.ts";
import type { MappingHost } from "./router.ts";

/** The first repetition comes after this, each next one after twice the time before (RFC 6886, section 3.1). */
const FIRST_REPEAT_MS = 250;

/** Times that a question is sent: with the waits between, 3.75 s in all. A router is one hop away. */
export const TRIES = 4;

/** No message of either protocol is longer (RFC 6887, section 7). */
const MAX_MESSAGE_BYTES = 1100;

type Reader = (reply: Uint8Array) => boolean;

/** A socket of ours that hears one router. */
export class ControlSocket {
  readonly #conn: Deno.DatagramConn;
  readonly #server: Endpoint;
  readonly #host: MappingHost;
  readonly #readers = new Set<Reader>();
  readonly #closing = new AbortController();

  private constructor(conn: Deno.DatagramConn, server: Endpoint, host: MappingHost) {
    this.#conn = conn;
    this.#server = server;
    this.#host = host;
    void this.#receive();
  }

  /** Bound to our address on the router's network: PCP names it in the message, too. Undefined where that is gone. */
  static open(own: Endpoint, server: Endpoint, host: MappingHost): ControlSocket | undefined {
    if (!host.allows(server)) return undefined;
    try {
      const conn = Deno.listenDatagram({ transport: "udp", hostname: own.host, port: 0 });
      return new ControlSocket(conn, server, host);
    } catch {
      return undefined;
    }
  }

  /** The first reply that `read` makes something of; undefined where none comes. */
  async ask<T>(
    question: Uint8Array,
    read: (reply: Uint8Array) => T | undefined,
    tries = TRIES,
  ): Promise<T | undefined> {
    let answer: T | undefined;
    const answered = new AbortController();
    const end = () => answered.abort();
    const reader = (reply: Uint8Array) => {
      answer = read(reply);
      if (answer !== undefined) end();
      return answer !== undefined;
    };
    this.#readers.add(reader);
    this.#closing.signal.addEventListener("abort", end);
    if (this.#closing.signal.aborted) end();
    for (let i = 0, wait = FIRST_REPEAT_MS; i < tries && !answered.signal.aborted; i++, wait *= 2) {
      await this.#send(question);
      await this.#host.clock.sleep(wait, answered.signal);
    }
    this.#closing.signal.removeEventListener("abort", end);
    this.#readers.delete(reader);
    return answer;
  }

  async #send(question: Uint8Array): Promise<void> {
    // What `--allow-net` allows changes with the addresses of its names.
    if (!this.#host.allows(this.#server)) return;
    const { host: hostname, port } = this.#server;
    try {
      await this.#conn.send(question, { transport: "udp", hostname, port });
    } catch {
      // No route, or no such neighbour: as good as unanswered.
    }
  }

  async #receive(): Promise<void> {
    const { host, port } = this.#server, buffer = new Uint8Array(MAX_MESSAGE_BYTES);
    while (!this.#closing.signal.aborted) {
      let received: [Uint8Array, Deno.Addr];
      try {
        received = await this.#conn.receive(buffer);
      } catch {
        // The system tells so of a message that bounced: not at once again, lest it says so for ever.
        await this.#host.clock.sleep(FIRST_REPEAT_MS, this.#closing.signal);
        continue;
      }
      const from = received[1] as Deno.NetAddr;
      if (from.hostname !== host || from.port !== port) continue;
      for (const reader of this.#readers) if (reader(received[0])) break;
    }
  }

  close(): void {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    this.#conn.close();
  }
}
