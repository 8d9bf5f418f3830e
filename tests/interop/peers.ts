// Starts the driver processes of the other DHT implementations, and sends them requests.

import { Buffer } from "node:buffer";
import { createPrivateKey, createPublicKey, type KeyObject, randomBytes, sign } from "node:crypto";

const PEERS = new URL("./peers/", import.meta.url).pathname;

/** Debian's own interpreter: python3-libtorrent is invisible to any other. */
const PYTHON = "/usr/bin/python3";

/** Longer than any timeout inside a driver, so that the driver's own error arrives first. */
const REPLY_TIMEOUT_MS = 60_000;

export type Kind = "bittorrent-dht" | "libtorrent";

export interface Contact {
  nodeId: string;
  address: string;
}

export interface StartedNode extends Contact {
  node: number;
  /** libtorrent only: one node for each of its hosts, each with an id of its own. */
  all?: Contact[];
}

export interface StartOptions {
  count?: number;
  /** Ports of the first nodes. The other nodes use any free port. */
  ports?: number[];
  bootstrap?: string[];
  /** libtorrent only: read-only nodes (BEP 43). */
  read_only?: boolean;
  /** libtorrent only: the packets a second above which it blocks an address; no limit by default. */
  block_ratelimit?: number;
  /** libtorrent only. The default is 127.0.0.1. */
  hosts?: string[];
}

export type Found =
  | { found: false }
  | { found: true; value: string; seq?: number | null; publicKey?: string | null };

export interface Stored {
  hash: string;
  acknowledged: number;
  publicKey?: string;
  seq?: number;
}

/** libtorrent's counts of its queries, and the refusals that it received. */
export interface Traffic {
  answered: Record<string, number>;
  received: Record<string, number>;
  /** The query, the address, and the code and text of the KRPC error. */
  errors: [string, string, number, string][];
}

/**
 * Leaves out refusals that libtorrent causes itself. libtorrent matches replies only by IP address and a transaction id
 * of 16 bits. If nodes share an address, it sometimes takes the answer of another node, and then sends a wrong token.
 */
export function refusals({ errors }: Traffic): Traffic["errors"] {
  return errors.filter(([, , , text]) => !text.includes("bad token"));
}

/** An error of a driver. `code` is the KRPC error of the refusing node, if a node refused. */
export class PeerError extends Error {
  constructor(message: string, readonly code: number | string | null) {
    super(message);
    this.name = "PeerError";
  }
}

/** Installs the npm package. Fails with instructions if another dependency is missing. */
export async function requirePeers(): Promise<void> {
  const isRecent = "process.exit(process.versions.node.split('.')[0] < 20 ? 1 : 0)";
  if (await failure("node", ["-e", isRecent]) !== undefined) {
    throw new Error(
      "Node 20 or newer with npm is needed: https://nodejs.org, or apt-get install npm",
    );
  }
  if (await failure(PYTHON, ["-c", "import libtorrent"]) !== undefined) {
    throw new Error(
      "libtorrent is needed: apt-get install python3-libtorrent, or tests/interop/setup.sh as root",
    );
  }
  if (await failure("npm", ["ls", "--prefix", PEERS]) === undefined) return;
  const failed = await failure("npm", ["ci", "--prefix", PEERS, "--ignore-scripts", "--no-audit"]);
  if (failed !== undefined) throw new Error(`npm ci in tests/interop/peers failed:\n${failed}`);
}

/** Runs a program. Returns undefined if it succeeded, otherwise its output. */
async function failure(program: string, args: string[]): Promise<string | undefined> {
  try {
    const command = new Deno.Command(program, { args, stdout: "null", stderr: "piped" });
    const { success, stderr } = await command.output();
    return success ? undefined : new TextDecoder().decode(stderr);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return `${program} was not found`;
    throw error;
  }
}

/** The public key (hex) that belongs to an Ed25519 seed (hex). */
export function publicKeyOf(seed: string): string {
  const spki = createPublicKey(privateKeyOf(seed)).export({ format: "der", type: "spki" });
  return spki.subarray(-32).toString("hex");
}

/** Signs a mutable item as BEP 44 says (hex). An independent implementation, so that it can check dmnode's. */
export function signItem(seed: string, salt: string, seq: number, value: string): string {
  const string = (text: string) => `${Buffer.byteLength(text)}:${text}`;
  const message = `${salt ? `4:salt${string(salt)}` : ""}3:seqi${seq}e1:v${string(value)}`;
  return sign(null, Buffer.from(message), privateKeyOf(seed)).toString("hex");
}

function privateKeyOf(seed: string): KeyObject {
  // RFC 8410: the bytes before a raw seed in PKCS #8.
  const der = Buffer.from(`302e020100300506032b657004220420${seed}`, "hex");
  return createPrivateKey({ key: der, format: "der", type: "pkcs8" });
}

/** Polls until `condition` holds. After `timeoutMs`, fails with the name of the condition. */
export async function eventually(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 20_000,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!await condition()) {
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** Short enough not to slow a test down, long enough not to load the polled node. */
const POLL_MS = 25;

/** A process that hosts nodes of one implementation. */
export class PeerProcess implements AsyncDisposable {
  #child: Deno.ChildProcess;
  #stdin: WritableStreamDefaultWriter<Uint8Array>;
  #waiting = new Map<number, {
    resolve: (reply: Record<string, unknown>) => void;
    reject: (error: Error) => void;
    timer: ReturnType<typeof setTimeout>;
  }>();
  #nextId = 1;
  #stderr = "";
  #readers: Promise<unknown>;
  #closing = false;

  constructor(readonly kind: Kind) {
    const command = kind === "bittorrent-dht"
      ? new Deno.Command("node", options([`${PEERS}bittorrent_dht.mjs`]))
      : new Deno.Command(PYTHON, options([`${PEERS}libtorrent_peer.py`]));
    this.#child = command.spawn();
    this.#stdin = this.#child.stdin.getWriter();
    this.#readers = Promise.all([this.#readReplies(), this.#readErrors()]);
  }

  /** Sends one request. Rejects with the driver's error, or after REPLY_TIMEOUT_MS. */
  async ask<T>(cmd: string, request: Record<string, unknown> = {}): Promise<T> {
    const id = this.#nextId++;
    const reply = new Promise<Record<string, unknown>>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new Error(`${this.kind}: no reply to ${cmd}${this.#said()}`));
      }, REPLY_TIMEOUT_MS);
      this.#waiting.set(id, { resolve, reject, timer });
    });
    const line = new TextEncoder().encode(`${JSON.stringify({ id, cmd, ...request })}\n`);
    // If the driver has ended, `reply` rejects with the reason. The broken pipe adds nothing.
    await this.#stdin.write(line).catch(() => {});
    const { id: _, ok, error, code, ...result } = await reply;
    if (!ok) throw new PeerError(`${this.kind}: ${cmd}: ${error}`, code as number | string | null);
    return result as T;
  }

  async start(options: StartOptions = {}): Promise<StartedNode[]> {
    return (await this.ask<{ nodes: StartedNode[] }>("start", { ...options })).nodes;
  }

  /** Replaces a node by an empty one, so that other nodes don't wait for a dead one. */
  async replace({ node, address }: StartedNode): Promise<void> {
    await this.ask("stop", { node });
    await this.start({ ports: [Number(address.split(":").at(-1))] });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing = true;
    await this.#stdin.close().catch(() => {});
    const killer = setTimeout(() => this.#child.kill("SIGKILL"), 5_000);
    await this.#child.status;
    clearTimeout(killer);
    await this.#readers;
  }

  async #readReplies(): Promise<void> {
    for await (const line of lines(this.#child.stdout)) {
      const reply = JSON.parse(line);
      const waiting = this.#waiting.get(reply.id);
      if (!waiting) continue;
      this.#waiting.delete(reply.id);
      clearTimeout(waiting.timer);
      waiting.resolve(reply);
    }
    const { code } = await this.#child.status;
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(new Error(`${this.kind}: the driver ended with status ${code}${this.#said()}`));
    }
    this.#waiting.clear();
    if (!this.#closing) await this.#stdin.abort().catch(() => {});
  }

  async #readErrors(): Promise<void> {
    for await (const line of lines(this.#child.stderr)) {
      this.#stderr = (this.#stderr + line + "\n").slice(-4_000);
    }
  }

  #said(): string {
    return this.#stderr ? `; it wrote:\n${this.#stderr}` : "";
  }
}

function options(args: string[]): Deno.CommandOptions {
  return { args, stdin: "piped", stdout: "piped", stderr: "piped" };
}

async function* lines(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + text).split("\n");
    rest = parts.pop()!;
    yield* parts;
  }
  if (rest) yield rest;
}

export function hex(text: string): string {
  return Buffer.from(text).toString("hex");
}

export function randomHex(length: number): string {
  return randomBytes(length).toString("hex");
}
