// A client of one node over UDP for puts and gets (BEP 44). It does not use the code under test, except to build items.
// A value counts as stored only if it was acknowledged.

import { Buffer } from "node:buffer";
import { createHash, createPrivateKey, createPublicKey, sign } from "node:crypto";
import { decodeAny, encode, hex, latin1, text, type Value } from "../packets.ts";

const ID = new Uint8Array(20).fill(0x5a);

/** The timeout of a query in ms. */
const TIMEOUT_MS = 10_000;

/** A node's answer: its response, or the code and text of its error. */
export type Answer =
  // deno-lint-ignore no-explicit-any
  | { readonly kind: "response"; readonly r: any }
  | { readonly kind: "error"; readonly code: number; readonly text: string }
  | { readonly kind: "silence" };

export class Client {
  readonly #socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  readonly #to: Deno.NetAddr;
  readonly #waiting = new Map<string, (answer: Answer) => void>();
  #count = 0;
  #token: Uint8Array | undefined;

  /** Opens a client for a node's UDP address, such as 127.0.0.1:8000. */
  constructor(address: string) {
    const [hostname, port] = address.split(":");
    this.#to = { transport: "udp", hostname, port: Number(port) };
    void this.#receive();
  }

  async #receive(): Promise<void> {
    const buffer = new Uint8Array(2048);
    for (;;) {
      let datagram: Uint8Array;
      try {
        [datagram] = await this.#socket.receive(buffer);
      } catch {
        return; // closed
      }
      const { t, y, r, e } = decodeAny(datagram);
      const id = text(t);
      if (text(y) === "q") {
        // The node pings us before it sends a long reply, to make sure that we receive its packets.
        await this.#socket.send(encode({ t, y: "r", r: { id: ID } }), this.#to);
        continue;
      }
      this.#settle(
        id,
        text(y) === "r" ? { kind: "response", r } : { kind: "error", code: e[0], text: text(e[1]) },
      );
    }
  }

  #settle(id: string, answer: Answer): void {
    this.#waiting.get(id)?.(answer);
    this.#waiting.delete(id);
  }

  /** Sends a query and waits for the answer. Undefined after 10 s, or when the client is closed. */
  async ask(method: string, args: { [key: string]: Value }): Promise<Answer> {
    const id = String(this.#count++).padStart(6, "0");
    const { promise, resolve } = Promise.withResolvers<Answer>();
    this.#waiting.set(id, resolve);
    const timer = setTimeout(() => this.#settle(id, { kind: "silence" }), TIMEOUT_MS);
    try {
      await this.#socket.send(
        encode({ t: id, y: "q", q: method, a: { id: ID, ...args } }),
        this.#to,
      );
      return await promise;
    } catch {
      return { kind: "silence" };
    } finally {
      clearTimeout(timer);
    }
  }

  /** The value of an item, with `seq` if it is mutable; undefined if the node does not have it. */
  async get(target: Uint8Array): Promise<{ value?: unknown; seq?: number }> {
    const answer = await this.ask("get", { target });
    if (answer.kind !== "response") {
      throw new Error(`no answer to a get: ${JSON.stringify(answer)}`);
    }
    this.#token = answer.r.token;
    return { value: answer.r.v, seq: answer.r.seq };
  }

  /** Puts a string as an immutable item. */
  async put(value: string): Promise<Answer> {
    return await this.ask("put", { token: await this.#tokenOf(), v: value });
  }

  /** Puts a string as a version of the mutable item of `KEY`. */
  async putMutable(seq: number, value: string): Promise<Answer> {
    const sig = sign(null, latin1(`3:seqi${seq}e1:v${value.length}:${value}`), KEY);
    const token = await this.#tokenOf();
    return await this.ask("put", { token, k: PUBLIC_KEY, sig: new Uint8Array(sig), seq, v: value });
  }

  async #tokenOf(): Promise<Uint8Array> {
    if (this.#token === undefined) await this.get(ID);
    return this.#token!;
  }

  /** Closes the client. All waiting queries end without an answer. */
  close(): void {
    this.#socket.close();
    for (const id of [...this.#waiting.keys()]) this.#settle(id, { kind: "silence" });
  }
}

/** The SHA-1 of the bencoded string. */
export function targetOf(value: string): Uint8Array {
  return new Uint8Array(createHash("sha1").update(latin1(`${value.length}:${value}`)).digest());
}

const KEY = createPrivateKey({
  key: Buffer.concat([
    hex("302e020100300506032b657004220420"),
    new Uint8Array(32).fill(7),
  ]),
  format: "der",
  type: "pkcs8",
});
const PUBLIC_KEY = new Uint8Array(
  createPublicKey(KEY).export({ format: "der", type: "spki" }).subarray(-32),
);

/** The target of the mutable item of `KEY`. */
export const MUTABLE_TARGET = new Uint8Array(createHash("sha1").update(PUBLIC_KEY).digest());
