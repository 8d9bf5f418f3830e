// The price of a network key: ways to encrypt a packet in this process, and the node under load with and without a key.

import { createCipheriv, createDecipheriv } from "node:crypto";
import { chacha20poly1305, xchacha20poly1305 } from "@noble/ciphers/chacha.js";
import { NetworkKey } from "../src/config/network_key.ts";
import { Writer } from "../src/krpc/bencode.ts";
import { Endpoint } from "../src/krpc/endpoint.ts";
import { decode, padQuery, writeQuery } from "../src/krpc/message.ts";
import { Cipher, TAG_BYTES } from "../src/runtime/net/cipher.ts";
import { PacketSeal } from "../src/runtime/net/packet_seal.ts";
import { UdpSocket } from "../src/runtime/net/udp.ts";
import { entitledBytes } from "../src/dht/reply_size.ts";
import { randomId } from "./full_node.ts";
import { median, nanoseconds, printTable } from "./measure.ts";
import { buildGenerator, type LoadOptions, Running, type Server, twoCores } from "./running.ts";

/** A ping, a query or reply with nodes, and an item of 1,000 bytes with its signature. */
const SIZES = [100, 300, 1_300];

/** Different prepared queries: so many that a node does not remember one as a replay when it is sent again. */
const PACKETS = 1 << 17;

/** The rate with a key must be at least this share of the rate without one. */
const BAR = 0.6, BAR_IN_BATCHES = 0.45;

const KEY = random(32), NONCE = random(24);

interface Way {
  seal(message: Uint8Array): unknown;
  /** Opens what `seal` returned; for a forged packet, throws or returns false or null. */
  open(sealed: unknown): unknown;
  forge(sealed: unknown): unknown;
}

const flipped = (bytes: Uint8Array) => bytes.with(0, bytes[0] ^ 1);

function nodeCrypto(name: "aes-128-gcm" | "aes-256-gcm" | "chacha20-poly1305"): Way {
  const key = KEY.subarray(0, name === "aes-128-gcm" ? 16 : 32), nonce = NONCE.subarray(0, 12);
  const options = { authTagLength: TAG_BYTES };
  return {
    seal(message) {
      const cipher = createCipheriv(name as "aes-128-gcm", key, nonce, options);
      const text = cipher.update(message);
      cipher.final();
      return [text, cipher.getAuthTag()];
    },
    open(sealed) {
      const [text, tag] = sealed as [Uint8Array, Uint8Array];
      const decipher = createDecipheriv(name as "aes-128-gcm", key, nonce, options);
      decipher.setAuthTag(tag);
      const message = decipher.update(text);
      decipher.final();
      return message;
    },
    forge: (sealed) => [flipped((sealed as Uint8Array[])[0]), (sealed as Uint8Array[])[1]],
  };
}

/** The rest of the nonce stays zero, because all ciphers of this thread share it. */
const PACKET_NONCE = NONCE.subarray(0, 16);

function libsodium(cipher: Cipher): Way {
  cipher.setKeys([KEY]);
  return {
    seal(message) {
      cipher.nonce.set(PACKET_NONCE);
      cipher.outgoing.set(message);
      cipher.encrypt(0, 0, message.length);
      return cipher.outgoing.slice(0, message.length + TAG_BYTES);
    },
    open(sealed) {
      const { length } = sealed as Uint8Array;
      cipher.nonce.set(PACKET_NONCE);
      cipher.incoming.set(sealed as Uint8Array);
      return cipher.decrypt(0, 0, length) && cipher.decrypted.subarray(0, length - TAG_BYTES);
    },
    forge: (sealed) => flipped(sealed as Uint8Array),
  };
}

/** Prints the microseconds of each way, and fails if one opens a forged packet. */
export async function benchSeal(options: LoadOptions): Promise<void> {
  await benchWays();
  await benchServed(options);
}

async function benchWays(): Promise<void> {
  const ways: Record<string, Way> = {
    "libsodium, xchacha20-poly1305": libsodium(await Cipher.load()),
    "node:crypto, chacha20-poly1305": nodeCrypto("chacha20-poly1305"),
    "node:crypto, aes-128-gcm": nodeCrypto("aes-128-gcm"),
    "node:crypto, aes-256-gcm": nodeCrypto("aes-256-gcm"),
    "noble, chacha20-poly1305": {
      seal: (message) => chacha20poly1305(KEY, NONCE.subarray(0, 12)).encrypt(message),
      open: (sealed) => chacha20poly1305(KEY, NONCE.subarray(0, 12)).decrypt(sealed as Uint8Array),
      forge: (sealed) => flipped(sealed as Uint8Array),
    },
    "noble, xchacha20-poly1305": {
      seal: (message) => xchacha20poly1305(KEY, NONCE).encrypt(message),
      open: (sealed) => xchacha20poly1305(KEY, NONCE).decrypt(sealed as Uint8Array),
      forge: (sealed) => flipped(sealed as Uint8Array),
    },
  };
  const rows: string[][] = [];
  for (const size of SIZES) {
    const message = random(size);
    const jobs = Object.values(ways).flatMap((way) => {
      const sealed = way.seal(message), forged = way.forge(sealed);
      const refuse = () => {
        try {
          return way.open(forged) ? "opened" : "refused";
        } catch {
          return "refused";
        }
      };
      if (refuse() !== "refused") throw new Error("a forged packet was opened");
      return [() => way.seal(message), () => way.open(sealed), refuse];
    });
    const times = nanoseconds(jobs).map((ns) => (ns / 1_000).toFixed(2));
    Object.keys(ways).forEach((name, i) =>
      rows.push([`${size} bytes, ${name}`, ...times.slice(3 * i, 3 * i + 3)])
    );
    const [seal, open] = await webCrypto(message);
    rows.push([`${size} bytes, WebCrypto, aes-256-gcm`, seal, open, ""]);
  }
  const header = ["message, library and construction", "seal µs", "open µs", "forged µs"];
  printTable("One packet encrypted, decrypted, and refused", header, rows);
}

/** WebCrypto is asynchronous, so it is measured by itself, one packet after the other. */
async function webCrypto(message: Uint8Array<ArrayBuffer>): Promise<[string, string]> {
  const name = "AES-GCM", iv = NONCE.subarray(0, 12);
  const key = await crypto.subtle.importKey("raw", KEY, name, false, ["encrypt", "decrypt"]);
  const sealed = await crypto.subtle.encrypt({ name, iv }, key, message);
  const micros = async (job: () => Promise<unknown>) => {
    const samples: number[] = [];
    for (let round = 0; round < 7; round++) {
      const start = performance.now();
      for (let i = 0; i < 500; i++) await job();
      samples.push((performance.now() - start) * 1_000 / 500);
    }
    return median(samples).toFixed(2);
  };
  return [
    await micros(() => crypto.subtle.encrypt({ name, iv }, key, message)),
    await micros(() => crypto.subtle.decrypt({ name, iv }, key, sealed)),
  ];
}

async function benchServed(options: LoadOptions): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "dmnode-bench-" });
  try {
    const generator = await buildGenerator(directory, "packet_load");
    if (typeof generator !== "string") {
      return console.log(`\nThe node with a network key: skipped, ${generator.skipped}.`);
    }
    const rows: string[][] = [];
    for (const inBatches of [false, true]) {
      await using running = new Running(generator, await twoCores(), options);
      const start = (...more: string[]) =>
        running.startOwn("node_server.ts", "127.0.0.1", ...(inBatches ? ["batches"] : []), ...more);
      const plain = await start(), key = NetworkKey.random();
      const sealed = await start(key.secretText());
      const samples = await running.load("find_node", {
        plain: { ...plain, packets: await prepare(plain, `${directory}/plain`) },
        sealed: { ...sealed, packets: await prepare(sealed, `${directory}/sealed`, key) },
      });
      const of = (name: string) => samples.get(name)!;
      const qps = of("sealed").map((sample, i) => sample.qps / of("plain")[i].qps);
      const cpu = of("sealed").map((sample, i) => of("plain")[i].cpuMicros / sample.cpuMicros);
      for (const [name, list] of samples) {
        rows.push([
          `${name}${inBatches ? ", in batches" : ""}`,
          median(list.map((sample) => sample.qps)).toFixed(0),
          name === "plain" ? "" : `${(100 * median(qps)).toFixed(0)} %`,
          name === "plain" ? "" : `${(100 * median(cpu)).toFixed(0)} %`,
          median(list.map((sample) => sample.cpuMicros)).toFixed(2),
          median(list.map((sample) => sample.reply_bytes)).toFixed(0),
        ]);
      }
    }
    const header = ["find_node", "queries/s", "of plain", "by CPU", "CPU µs", "reply bytes"];
    printTable(
      "The node with and without a network key, prepared queries from one address",
      header,
      rows,
    );
    console.log(
      `\nThe bar: ${100 * BAR} % or more of the rate without a key, ${
        100 * BAR_IN_BATCHES
      } % in batches.`,
    );
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** Writes queries that the server answers if they come from the port that is returned. */
async function prepare({ port }: Server, file: string, key?: NetworkKey) {
  const server = Endpoint.parse("127.0.0.1", port)!;
  const seal = key &&
    await PacketSeal.create([key], { drop: () => {} });
  const { promise, resolve } = Promise.withResolvers<Uint8Array>();
  const socket = UdpSocket.bind({
    host: "127.0.0.1",
    port: 0,
    seal,
    receive: (reply) => resolve(reply.slice()),
    onOverflow: () => {},
  });
  socket.start();
  const writer = new Writer(512);
  const query = () => {
    const args = { target: randomId() };
    writeQuery(writer, "find_node", 1, randomId(), 0, true, args);
    padQuery(writer, entitledBytes({ method: "find_node", args, to: server }));
    return writer.done();
  };
  // The server drops a first packet without a proof if it has just made too many offers.
  const resend = setInterval(() => socket.send(query(), server), 500);
  socket.send(query(), server);
  const reply = decode(await promise);
  clearInterval(resend);
  if (typeof reply === "string" || reply.type !== "r") {
    throw new Error("the query was not answered");
  }
  const parts = Array.from({ length: PACKETS }, () => {
    const packet = seal === undefined ? query() : seal.seal(query(), server);
    const part = new Uint8Array(2 + packet.length);
    part.set([packet.length & 0xff, packet.length >> 8]);
    part.set(packet, 2);
    return part;
  });
  const from = socket.port;
  await socket.close();
  await Deno.writeFile(file, new Uint8Array(await new Blob(parts).arrayBuffer()));
  return { file, port: from };
}

function random(length: number): Uint8Array<ArrayBuffer> {
  return crypto.getRandomValues(new Uint8Array(length));
}
