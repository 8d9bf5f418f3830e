// Floods a running dmnode from 10,000 addresses, at twice the rate of find_node queries that it can answer, and shows how
// many queries of honest contacts and strangers it still answers, and how its memory develops.
//
// deno run --allow-all bench/flood.ts [--seconds S] [--kinds LIST] [--sources N] [--factor F] [--rate R]
//   [--store BYTES] [--items N] [--main FILE]
//
// It runs in a network namespace of its own, in which all addresses of 198.18.0.0/15 are local. That needs Linux with
// user namespaces, and a C compiler.

import { generateKeyPairSync, sign } from "node:crypto";
import { parseArgs } from "node:util";
import { literal, Writer } from "../src/krpc/bencode.ts";
import { signedBytes } from "../src/dht/items/item.ts";
import { Id } from "../src/krpc/id.ts";
import { putItems } from "./full_node.ts";
import { printTable } from "./measure.ts";
import { buildGenerator, here } from "./running.ts";

const HOST = "198.19.255.254", PORT = 6881, CLIENT_HOST = "198.19.255.1";
const API = "http://127.0.0.1:8680";

/** Contacts, each of which asks ten times a second, and strangers, each of which asks every ten seconds. */
const CONTACTS = 20, STRANGERS = 2_000;

/** Different packets of a kind that stores nothing. */
const PACKETS = 2_000;

const ITEM_BYTES = 500;

const MEMORY_INTERVAL_MS = 500;

/** How long after its first request the API has compacted its heap. */
const API_SETTLE_MS = 4_000;

interface Packet {
  readonly bytes: Uint8Array;
  /** The offsets of the token and of the transaction id; 0 if it has none. */
  readonly tokenAt: number;
  readonly tidAt: number;
}

/** The packets of each flood. */
const KINDS: Record<string, (item: Id) => Packet[]> = {
  junk: () => times(PACKETS, () => ({ bytes: random(100), tokenAt: 0, tidAt: 0 })),
  ping: () => times(PACKETS, () => query("ping")),
  find_node: () => times(PACKETS, () => query("find_node", { target: random(20) })),
  get: (item) => times(PACKETS, () => query("get", { target: item.toBytes() })),
  announce: () =>
    times(items, () => query("announce_peer", { info_hash: random(20), port: 6881, token: TOKEN })),
  "bad signatures": () =>
    times(
      PACKETS,
      () =>
        query("put", {
          k: random(32),
          seq: 1,
          sig: random(64),
          token: TOKEN,
          v: random(ITEM_BYTES),
        }),
    ),
  "fresh keys": () => times(items, signedPut),
};

const TOKEN = literal("########");

type Value = Uint8Array | number;

/** A query with its keys in order, and with place for the token and the transaction id. */
function query(method: string, args: Record<string, Value> = {}): Packet {
  const writer = new Writer(2_048);
  writer.raw(literal("d1:ad2:id20:"));
  writer.raw(random(20));
  let tokenAt = 0;
  for (const [key, value] of Object.entries(args)) {
    writer.ascii(key);
    if (typeof value === "number") writer.integer(value);
    else writer.bytes(value);
    if (value === TOKEN) tokenAt = writer.pos - TOKEN.length;
  }
  writer.raw(literal(`e1:q${method.length}:${method}1:t4:`));
  const tidAt = writer.pos;
  writer.raw(literal("tidx1:v4:LT..1:y1:qe"));
  return { bytes: writer.done().slice(), tokenAt, tidAt };
}

/** A put of a mutable item with a key of its own. */
function signedPut(): Packet {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const k = Uint8Array.from(publicKey.export({ type: "spki", format: "der" }).subarray(-32));
  const writer = new Writer(2_048);
  writer.bytes(random(ITEM_BYTES));
  const value = writer.done().slice();
  const sig = Uint8Array.from(sign(null, signedBytes(new Uint8Array(0), 1, value), privateKey));
  return query("put", { k, seq: 1, sig, token: TOKEN, v: value.subarray(4) });
}

function times<T>(count: number, make: () => T): T[] {
  return Array.from({ length: count }, make);
}

function random(length: number): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(length));
}

/** Packets as the generator reads them. */
function encode(packets: readonly Packet[]): Uint8Array {
  const parts = packets.flatMap(({ bytes, tokenAt, tidAt }) => [
    new Uint8Array(Uint16Array.of(bytes.length, tokenAt, tidAt).buffer),
    bytes,
  ]);
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

const { values: options } = parseArgs({
  options: {
    inside: { type: "boolean", default: false },
    seconds: { type: "string", default: "5" },
    kinds: { type: "string", default: Object.keys(KINDS).join() },
    sources: { type: "string", default: "10000" },
    factor: { type: "string", default: "2" },
    /** Packets a second, instead of measuring what the node can answer. */
    rate: { type: "string" },
    /** Different packets of a kind that stores something. A node stores each of them once. */
    items: { type: "string", default: "20000" },
    /** The node's STORAGE_LIMIT. */
    store: { type: "string", default: "1073741824" },
    main: { type: "string", default: here("../src/main.ts") },
  },
});
const items = Number(options.items);

if (options.inside) await run();
else {
  const script = 'ip link set lo up && ip addr add 198.18.0.0/15 dev lo && exec "$@"';
  const self = [Deno.execPath(), "run", "--no-check", "--allow-all", import.meta.filename!];
  const { code } = await new Deno.Command("unshare", {
    args: [
      ...["--user", "--map-root-user", "--net", "sh", "-c", script, "sh"],
      ...[...self, "--inside", ...Deno.args],
    ],
  }).spawn().status;
  Deno.exit(code);
}

async function run(): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "dmnode-flood-" });
  try {
    const flood = await buildGenerator(directory, "flood");
    const load = await buildGenerator(directory);
    if (typeof flood !== "string" || typeof load !== "string") {
      return console.log("The flood: skipped, it needs Linux, two cores and a C compiler.");
    }
    const rows: string[][] = [];
    for (const kind of options.kinds.split(",")) {
      rows.push(await measure(kind, { directory, flood, load }));
    }
    printTable(
      `Honest queries answered during a flood of ${options.seconds} s from ${options.sources} addresses`,
      [
        "flood",
        "packets/s",
        "contacts",
        "strangers",
        "MB before",
        "at half time",
        "at the end",
        "most",
        "items at half time",
        "at the end",
      ],
      rows,
    );
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

interface Tools {
  readonly directory: string;
  readonly flood: string;
  readonly load: string;
}

/** Starts a node, floods it, and returns a row of the table. */
async function measure(kind: string, { directory, flood, load }: Tools): Promise<string[]> {
  const data = await Deno.makeTempDir({ dir: directory });
  const node = start("deno", [
    ...[
      "run",
      "--v8-flags=--max-semi-space-size=2,--heap-growing-percent=30,--expose-gc", // as in the task `start`
      "--no-check",
      "--no-prompt",
      "--allow-net",
      "--allow-env",
      "--allow-read",
      "--allow-write",
      "--allow-sys=networkInterfaces",
    ],
    ...[options.main, "start", "--allow-net", "--p2p-port", `${PORT}`, "--nat", "off"],
    ...["--api-port", new URL(API).port, "--data-dir", data, "--log-level", "warning"],
  ]);
  try {
    const item = await untilReady();
    // The API loads its program at the first request. That memory must not count as growth.
    await itemsHeld();
    await new Promise((resolve) => setTimeout(resolve, API_SETTLE_MS));
    const capacity = options.rate === undefined ? await capacityOf(load, directory) : 0;
    const rate = options.rate === undefined
      ? Number(options.factor) * capacity
      : Number(options.rate);
    const file = `${directory}/packets`;
    await Deno.writeFile(file, encode(KINDS[kind](item)));
    const generator = start(flood, [
      ...[HOST, `${PORT}`, file, `${rate}`, options.seconds, options.sources],
      ...[`${CONTACTS}`, `${STRANGERS}`],
    ]);
    let text = "";
    const memory: number[] = [];
    let itemsAtHalfTime = Promise.resolve(NaN);
    for await (const chunk of generator.stdout.pipeThrough(new TextDecoderStream())) {
      if (text === "") {
        void sampleMemory(node.pid, memory, () => text.includes("}"));
        const halfMs = Number(options.seconds) * 500;
        setTimeout(() => itemsAtHalfTime = itemsHeld(), halfMs);
      }
      text += chunk;
    }
    const result = JSON.parse(text.slice(text.indexOf("{")));
    const megabytes = (at: number) =>
      (memory[Math.floor(at * (memory.length - 1))] / 1024).toFixed(0);
    return [
      kind,
      (result.flooded / Number(options.seconds)).toFixed(0),
      share(result.contacts_answered, result.contacts_asked),
      share(result.strangers_answered, result.strangers_asked),
      megabytes(0),
      megabytes(0.5),
      megabytes(1),
      (Math.max(...memory) / 1024).toFixed(0),
      `${await itemsAtHalfTime}`,
      `${await itemsHeld()}`,
    ];
  } finally {
    node.kill("SIGKILL");
    await node.status;
    await Deno.remove(data, { recursive: true });
  }
}

function start(program: string, args: string[]): Deno.ChildProcess {
  const command = program === "deno" ? Deno.execPath() : program;
  const env = { TEST_NETWORKS: "198.18.0.0/15", NO_COLOR: "1", STORAGE_LIMIT: options.store };
  return new Deno.Command(command, { args, env, stdin: "null", stdout: "piped", stderr: "inherit" })
    .spawn();
}

/** Stores some items, once the node answers. Returns the target of one. */
async function untilReady(): Promise<Id> {
  for (let tries = 0;; tries++) {
    try {
      return await putItems(exchange, 10);
    } catch (error) {
      if (tries === 100) throw error;
    }
  }
}

async function exchange(packet: Uint8Array): Promise<Uint8Array> {
  const socket = Deno.listenDatagram({ transport: "udp", hostname: CLIENT_HOST, port: 0 });
  const timer = setTimeout(() => socket.close(), 500);
  try {
    await socket.send(packet, { transport: "udp", hostname: HOST, port: PORT });
    const [reply] = await socket.receive();
    return reply;
  } finally {
    clearTimeout(timer);
    try {
      socket.close();
    } catch {
      // The timer has closed it.
    }
  }
}

/** The number of items that the node holds for others. */
async function itemsHeld(): Promise<number> {
  const metrics = await (await fetch(`${API}/metrics`)).text();
  return Number(/^dmnode_storage_items\{owner="others"\} (\d+)$/m.exec(metrics)![1]);
}

/** The find_node queries a second that the node answers, from addresses without a limit. */
async function capacityOf(load: string, directory: string): Promise<number> {
  const args = ["--port", `${PORT}`, "--query", "find_node", "--seconds", "2", "--ro"];
  const { stdout } = await new Deno.Command(load, { args, cwd: directory }).output();
  return JSON.parse(new TextDecoder().decode(stdout)).qps;
}

async function sampleMemory(pid: number, samples: number[], isOver: () => boolean): Promise<void> {
  while (!isOver()) {
    const status = await Deno.readTextFile(`/proc/${pid}/status`).catch(() => "");
    const kilobytes = Number(status.match(/^VmRSS:\s*(\d+)/m)?.[1] ?? NaN);
    if (!Number.isNaN(kilobytes)) samples.push(kilobytes);
    await new Promise((resolve) => setTimeout(resolve, MEMORY_INTERVAL_MS));
  }
}

function share(part: number, whole: number): string {
  return `${(100 * part / whole).toFixed(0)} %`;
}
