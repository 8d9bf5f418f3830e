// Decoding and encoding of every message type, compared with npm's `bencode`.
//
// Decoding ends when a handler could start. For us that is `decode`: type, method and ids are checked and read, and byte
// fields are views. For npm it is `bencode.decode`, type and method as strings, and a check of the ids' lengths.
// Encoding starts from a node's records and ends with the datagram. Both build the compact nodes of a reply. Ours writes
// into a reused buffer and npm's into a new array, as each is meant to be used.

import bencode from "bencode";
import { Writer } from "../src/krpc/bencode.ts";
import { Endpoint } from "../src/krpc/endpoint.ts";
import { Id } from "../src/krpc/id.ts";
import {
  decode,
  ErrorCode,
  type Message,
  type Method,
  type NodeAddress,
  type QueryArguments,
  type ResponseValues,
  writeError,
  writeQuery,
  writeResponse,
} from "../src/krpc/message.ts";
import { nanoseconds, printTable } from "./measure.ts";

const TID = 0x61626364;
const CLIENT = 0x444d3031;

/** A message for both codecs. They write the same bytes. */
interface Case {
  readonly name: string;
  readonly write: (w: Writer) => void;
  /** Creates the object for `bencode.encode`, as for a new message. */
  readonly object: () => unknown;
}

/** A decoded message, in the form that a handler based on `bencode` would need. */
interface TheirMessage {
  readonly type: string;
  readonly method: string | undefined;
  readonly tid: Uint8Array;
  readonly body: Record<string, unknown>;
}

export function benchCodec(): void {
  const cases = [...queries(), ...responses()];
  const decoding: string[][] = [], encoding: string[][] = [];
  for (const { name, write, object } of cases) {
    const writer = new Writer(4096);
    write(writer);
    const packet = writer.done().slice();
    checkSame(name, packet, bencode.encode(object()));
    const [ourDecode, theirDecode, ourEncode, theirEncode] = nanoseconds([
      () => decode(packet),
      () => theirMessage(packet),
      () => {
        write(writer);
        return writer.done();
      },
      () => bencode.encode(object()),
    ]);
    decoding.push(row(name, packet.length, ourDecode, theirDecode));
    encoding.push(row(name, packet.length, ourEncode, theirEncode));
  }
  const header = ["message", "bytes", "ns", "MB/s", "npm ns", "npm MB/s", "times faster"];
  printTable(
    "Decode: to checked fields, against npm bencode and the same checks",
    header,
    decoding,
  );
  printTable(
    "Encode: from a node's records to the datagram, against npm bencode",
    header,
    encoding,
  );
}

function row(name: string, bytes: number, ours: number, theirs: number): string[] {
  const rate = (ns: number) => (bytes * 1e3 / ns).toFixed(0);
  return [
    name,
    `${bytes}`,
    ours.toFixed(0),
    rate(ours),
    theirs.toFixed(0),
    rate(theirs),
    (theirs / ours).toFixed(1),
  ];
}

function checkSame(name: string, ours: Uint8Array, theirs: Uint8Array): void {
  const same = ours.length === theirs.length && ours.every((byte, i) => byte === theirs[i]);
  if (!same) throw new Error(`${name}: the two encoders were given different messages`);
  const message = decode(ours);
  if (typeof message === "string") throw new Error(`${name}: ${message}`);
}

function theirMessage(packet: Uint8Array): TheirMessage {
  const message = bencode.decode(packet);
  const type = text(message.y);
  const body = message.a ?? message.r ?? message.e;
  if (type !== "e") {
    checkId(body.id);
    if (body.target !== undefined) checkId(body.target);
    if (body.info_hash !== undefined) checkId(body.info_hash);
  }
  return { type, method: message.q && text(message.q), tid: message.t, body };
}

function checkId(id: unknown): void {
  if (!(id instanceof Uint8Array) || id.length !== 20) throw new Error("id is not 20 bytes");
}

function text(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}

// ---- the messages

const from = Endpoint.parse("203.0.113.7", 6881)!;
const id = Id.parse("a1".repeat(20))!, target = Id.parse("5e".repeat(20))!;
const token = new Uint8Array(8).fill(0xf0);
const publicKey = new Uint8Array(32).fill(0x77), signature = new Uint8Array(64).fill(0x30);
/** The size of a short text. Its content does not matter to a codec. */
const text500 = new Uint8Array(500).fill(0x78);
const value = bencode.encode(text500);
const idBytes = id.toBytes(), targetBytes = target.toBytes();
const tidBytes = wordBytes(TID), clientBytes = wordBytes(CLIENT);

const nodes: NodeAddress[] = Array.from({ length: 8 }, (_, i) => ({
  id: Id.parse(`${i}c`.repeat(20))!,
  endpoint: Endpoint.parse(`198.51.100.${i + 1}`, 6881 + i)!,
}));
/** The compact form of each contact, which a node based on byte arrays would store. */
const nodesBytes = nodes.map((node) => {
  const bytes = new Uint8Array(26);
  node.id.write(bytes, 0);
  node.endpoint.write(bytes, 20);
  return bytes;
});
const swarm = Array.from({ length: 20 }, (_, i) => Endpoint.parse(`192.0.2.${i + 1}`, 51413)!);
const swarmBytes = swarm.map(compact);
const samples = new Uint8Array(20 * 20).fill(0x5a);

function queries(): Case[] {
  const query = (
    method: Method,
    args: QueryArguments,
    theirs: Record<string, unknown>,
  ): Case => ({
    name: `${method} query`,
    write: (w) => writeQuery(w, method, TID, id, CLIENT, false, args),
    object: () => ({
      a: { id: idBytes, ...theirs },
      q: method,
      t: tidBytes,
      v: clientBytes,
      y: "q",
    }),
  });
  const put = { token, value, publicKey, signature, seq: 7 };
  return [
    query("ping", {}, {}),
    query("find_node", { target }, { target: targetBytes }),
    query("get_peers", { infoHash: target }, { info_hash: targetBytes }),
    query(
      "announce_peer",
      { infoHash: target, port: 6881, token },
      { info_hash: targetBytes, port: 6881, token },
    ),
    query("get", { target }, { target: targetBytes }),
    query("put", put, { k: publicKey, seq: 7, sig: signature, token, v: text500 }),
    query("sample_infohashes", { target }, { target: targetBytes }),
  ];
}

function responses(): Case[] {
  const writer = new Writer(256);
  writeQuery(writer, "ping", TID, id, CLIENT, false, {});
  const asked = decode(writer.done().slice()) as Message;
  const response = (
    name: string,
    values: ResponseValues,
    theirs: () => Record<string, unknown>,
  ): Case => ({
    name: `${name} response`,
    write: (w) => writeResponse(w, asked, from, id, CLIENT, values),
    object: () => ({
      ip: compact(from),
      r: { id: idBytes, ...theirs() },
      t: tidBytes,
      v: clientBytes,
      y: "r",
    }),
  });
  const signed = { publicKey, signature, seq: 7 };
  return [
    response("ping", {}, () => ({})),
    response("find_node", { nodes }, () => ({ nodes: joined(nodesBytes) })),
    response(
      "get_peers",
      { nodes, token, values: swarm },
      () => ({ nodes: joined(nodesBytes), token, values: swarmBytes }),
    ),
    response("announce_peer", {}, () => ({})),
    response("get", { nodes, token, value, ...signed }, () => ({
      k: publicKey,
      nodes: joined(nodesBytes),
      seq: 7,
      sig: signature,
      token,
      v: text500,
    })),
    response("put", {}, () => ({})),
    response("sample_infohashes", { nodes, samples, num: 20, interval: 300 }, () => ({
      interval: 300,
      nodes: joined(nodesBytes),
      num: 20,
      samples,
    })),
    {
      name: "error",
      write: (w) => writeError(w, asked, from, CLIENT, ErrorCode.protocol, "bad token"),
      object: () => ({
        e: [ErrorCode.protocol, "bad token"],
        ip: compact(from),
        t: tidBytes,
        v: clientBytes,
        y: "e",
      }),
    },
  ];
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.length * 26);
  for (let i = 0; i < parts.length; i++) bytes.set(parts[i], 26 * i);
  return bytes;
}

function compact(endpoint: Endpoint): Uint8Array {
  const bytes = new Uint8Array(6);
  endpoint.write(bytes, 0);
  return bytes;
}

function wordBytes(word: number): Uint8Array {
  return Uint8Array.of(word >>> 24, word >>> 16, word >>> 8, word);
}
