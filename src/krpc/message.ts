// Decodes and writes KRPC messages (BEP 5, 32, 33, 42, 43, 44, 51).

import { literal, Scanner, type Writer } from "./bencode.ts";
import { Endpoint, type Family } from "./endpoint.ts";
import { Id, ID_BYTES, word } from "./id.ts";
import type { Seq } from "./seq.ts";

/** KRPC's error codes (BEP 5, BEP 44). */
export const ErrorCode = {
  generic: 201,
  server: 202,
  protocol: 203,
  unknownMethod: 204,
  valueTooBig: 205,
  badSignature: 206,
  saltTooBig: 207,
  casMismatch: 301,
  seqTooLow: 302,
} as const;

/** All query methods. Methods that begin with `dm_` are this project's extensions. */
// deno-fmt-ignore
export const METHODS = [
  "ping", "find_node", "get_peers", "announce_peer", "get", "put", "sample_infohashes",
  "dm_pass", "dm_probe", "dm_punch", "dm_subscribe", "dm_notice",
] as const;

export type Method = typeof METHODS[number];

/** Why a datagram could not be decoded. It is dropped without an answer. */
export type DropReason = "malformed" | "no_transaction" | "unknown_type";

/** Bit flags for the argument `want` (BEP 32). */
export const WANT_N4 = 1, WANT_N6 = 2;

/**
 * Bit flags of messages about swarms (BEP 33). SEED: the sender seeds the swarm that it announces. NO_SEED: the sender
 * requests only peers that are not seeds. SCRAPE: the sender requests the swarm's Bloom filters.
 */
export const SEED = 1, NO_SEED = 2, SCRAPE = 4;

/** The size in bytes of a compact node (an id and an endpoint), by address family (BEP 5, BEP 32). */
export const COMPACT_NODE_BYTES = { 4: 26, 6: 38 } as const;

/** The default number of nodes in a reply, as in the public network. */
export const REPLY_NODES = 8;

/**
 * The maximum number of nodes in a reply, if the query requests this many with `nn`. It equals the default bucket size.
 */
export const MAX_REPLY_NODES = 20;

/** The maximum number of `values` that we read from a message. A reply that fits in a packet never has more. */
const MAX_VALUES = 256;

/**
 * The maximum size of a token that we accept. A `put` with such a token and the largest item still fits in 1,400 bytes.
 */
const MAX_TOKEN = 64;

/**
 * The size of a challenge: the random bytes with which a node requests a proof that another node holds a value (dm).
 */
export const CHALLENGE_BYTES = 8;

/** The maximum size of a transaction id that we echo. Two bytes are enough (BEP 5), but some nodes use 8 or more. */
const MAX_TID = 64;

/**
 * A received message. Byte fields are views into the datagram, so copy those that you keep. A field that is missing, or
 * has the wrong type or length, is undefined, NaN, 0 or false. Whether that is an error depends on the method.
 *
 * Queries, responses and errors share this flat class, so that V8 sees the same object shape for every packet. Fields
 * marked with (dm) are this project's extensions.
 */
export class Message {
  type: "q" | "r" | "e" = "q";
  /** The method of a query; "unknown" if we don't know it, and undefined in responses and errors. */
  method: Method | "unknown" | undefined = undefined;
  /** The start of the transaction id, which a reply must repeat byte for byte: `packet[tidStart..tidEnd)`. */
  tidStart = 0;
  tidEnd = 0;
  /**
   * The sender's client and version: the first four bytes of `v` as a 32-bit word. A shorter `v` is padded with zeros.
   */
  client = 0;
  /** Whether the sender is read-only: it answers no queries (`ro`, BEP 43). dmnode sends this flag in responses too. */
  readOnly = false;
  /** The endpoint at which the responding node sees us (BEP 42). */
  ip: Endpoint | undefined = undefined;
  /** Whether the message contains a dictionary `a` (arguments) or `r` (response values). */
  hasBody = false;

  id: Id | undefined = undefined;
  target: Id | undefined = undefined;
  infoHash: Id | undefined = undefined;
  /** The address families of the nodes that the sender requests: flags {@link WANT_N4} and {@link WANT_N6}. */
  want = 0;
  /** The number of nodes that the sender requests (dm); NaN if not given. */
  wantCount = NaN;
  /** Whether the sender requests the salt of a mutable item (dm). */
  wantSalt = false;
  port = NaN;
  impliedPort = false;
  token: Uint8Array | undefined = undefined;
  seq: Seq = NaN;
  cas: Seq = NaN;
  /** Whether the message has a field `seq`, even an invalid one. `hasCas` is the same for the field `cas`. */
  hasSeq = false;
  hasCas = false;
  publicKey: Uint8Array | undefined = undefined;
  signature: Uint8Array | undefined = undefined;
  salt: Uint8Array | undefined = undefined;
  /** The bytes of the bencoded value, exactly as received. */
  value: Uint8Array | undefined = undefined;
  nodes: Uint8Array | undefined = undefined;
  nodes6: Uint8Array | undefined = undefined;
  values: Endpoint[] | undefined = undefined;
  samples: Uint8Array | undefined = undefined;
  /** Flags about seeds (BEP 33): {@link SEED}, {@link NO_SEED} and {@link SCRAPE}. */
  swarm = 0;
  /** Bloom filters of a swarm's seeds and of its other peers (BEP 33). */
  filters: { seeds?: Uint8Array; peers?: Uint8Array } | undefined = undefined;
  /**
   * The network coordinate of the sender (dm). `nodeCoordinates` contains the coordinates of the nodes that the message
   * lists, in the same order.
   */
  coordinate: Uint8Array | undefined = undefined;
  nodeCoordinates: Uint8Array | undefined = undefined;
  /** Whether the sender's routing table contains us (dm); undefined if not given. */
  keeps: boolean | undefined = undefined;
  /**
   * A challenge (dm): the sender requests only a proof that we hold the item, in order to repair the item's replicas.
   */
  challenge: Uint8Array | undefined = undefined;
  /** The proof that the responding node holds the item's value (dm). See `proof.ts`. */
  proof: Uint8Array | undefined = undefined;
  /** The number of seconds since the owner last published the item (dm); NaN if not given. */
  age = NaN;
  /** The number of nodes that should hold the item of a put (dm); NaN if not given. */
  copies = NaN;
  /** Whether a query requests the field `room` in the response (dm). */
  wantRoom = false;
  /**
   * In a response, the number of bytes of items that we may still put at the responding node (dm); NaN if not given.
   */
  room = NaN;
  /**
   * The number of seconds for which holders should keep the item after its owner last published it (dm); NaN if not
   * given.
   */
  ttl = NaN;
  /**
   * In a forwarded query, the token that the introducer requires with the answer (dm). In a subscription, the secret of
   * the watcher.
   */
  returnToken: Uint8Array | undefined = undefined;
  /** How the sender's NAT maps ports, as a `NAT_CODE` (dm); NaN if not given. */
  natType = NaN;
  num = NaN;
  interval = NaN;
  errorCode = 0;
  errorText = "";

  constructor(readonly packet: Uint8Array) {}
}

/** The maximum number of copies that a put may request. */
const MAX_COPIES = 64;

/**
 * The number of slots in the hash table of a `Names`. It is a power of two, and large enough that there is a factor
 * with which each name has a slot of its own.
 */
const NAME_SLOTS = 256;

const NO_NAME = new Uint8Array(0);

/** ASCII codes of the letters that bencode and KRPC use. */
const D = 0x64, E = 0x65, I = 0x69, L = 0x6c, Q = 0x71, R = 0x72;

/** Decodes a datagram. If it is not a KRPC message, returns the reason. Never throws. */
export function decode(packet: Uint8Array): Message | DropReason {
  const s = new Scanner(packet);
  if (!s.take(D)) return "malformed";
  const m = new Message(packet);
  let type = 0, hasTid = false;
  while (!s.take(E)) {
    if (!s.string()) return "malformed";
    const key = TOP_KEYS.at(packet, s.start, s.end);
    if (isString(s)) {
      if (!s.string()) return "malformed";
      switch (key) {
        case "t":
          hasTid = s.end - s.start <= MAX_TID;
          m.tidStart = s.start;
          m.tidEnd = s.end;
          break;
        case "y":
          if (s.end - s.start === 1) type = packet[s.start];
          break;
        case "q":
          m.method = METHOD_NAMES.at(packet, s.start, s.end) ?? "unknown";
          break;
        case "v":
          m.client = readClient(s);
          break;
        case "ip":
          m.ip = readEndpoint(packet, s.start, s.end - s.start);
          break;
      }
    } else if ((key === "a" || key === "r") && s.peek() === D) {
      m.hasBody = true;
      readBody(s, m);
    } else if (key === "e" && s.peek() === L) readError(s, m);
    else if (key === "ro" && s.peek() === I) m.readOnly = s.integer() === 1;
    else s.skip(1);
    if (s.failed) return "malformed";
  }
  // Bytes after the dictionary are ignored, because some nodes pad their messages.
  if (!hasTid) return "no_transaction";
  if (type === Q && m.method !== undefined) m.type = "q";
  else if (type === R && m.hasBody) m.type = "r";
  else if (type === E) m.type = "e";
  else return "unknown_type";
  return m;
}

/** Reads the arguments of a query or the values of a response. A field name has the same meaning in both. */
function readBody(s: Scanner, m: Message): void {
  s.pos++;
  while (!s.take(E)) {
    if (!s.string()) return;
    const key = BODY_KEYS.at(s.bytes, s.start, s.end);
    const from = s.pos;
    if (key === "v") {
      if (!s.skip()) return; // values may nest as deep as `isCanonical` allows
      m.value = s.bytes.subarray(from, s.pos);
    } else if (isString(s)) {
      if (!s.string()) return;
      readString(s, m, key);
    } else if (s.peek() === I) {
      if (key === "seq") m.seq = s.seq();
      else if (key === "cas") m.cas = s.seq();
      else readInteger(m, key, s.integer());
      if (s.failed) return;
    } else if (key === "want" && s.peek() === L) m.want = readWant(s);
    else if (key === "values" && s.peek() === L) m.values = readValues(s);
    else if (!s.skip(2)) return;
    if (key === "seq") m.hasSeq = true;
    else if (key === "cas") m.hasCas = true;
  }
}

/** Returns the first four bytes of `v` as a 32-bit word, padded with zeros. */
function readClient({ bytes, start, end }: Scanner): number {
  if (end - start >= 4) return word(bytes, start);
  let client = 0;
  for (let at = start; at < end; at++) client |= bytes[at] << (24 - 8 * (at - start));
  return client;
}

function readString(s: Scanner, m: Message, key: string | undefined): void {
  if (key === "id") m.id = readId(s);
  else if (key === "target") m.target = readId(s);
  else if (key === "info_hash") m.infoHash = readId(s);
  else if (key === "nodes") m.nodes = slice(s);
  else if (key === "nodes6") m.nodes6 = slice(s);
  else if (key === "token") m.token = s.end - s.start <= MAX_TOKEN ? slice(s) : undefined;
  else if (key === "k") m.publicKey = slice(s);
  else if (key === "sig") m.signature = slice(s);
  else if (key === "salt") m.salt = slice(s);
  else if (key === "samples") m.samples = slice(s);
  else if (key === "nc") m.coordinate = slice(s);
  else if (key === "nx") m.nodeCoordinates = slice(s);
  else if (key === "pc") {
    m.challenge = s.end - s.start === CHALLENGE_BYTES ? slice(s) : undefined;
  } else if (key === "pf") m.proof = slice(s);
  else if (key === "rt") m.returnToken = slice(s);
  else if (key === "BFpe") m.filters = { ...m.filters, peers: slice(s) };
  else if (key === "BFsd") m.filters = { ...m.filters, seeds: slice(s) };
}

function readInteger(m: Message, key: string | undefined, n: number): void {
  if (key === "port") m.port = n;
  else if (key === "implied_port") m.impliedPort = n !== 0 && !Number.isNaN(n);
  else if (key === "num") m.num = n;
  else if (key === "interval") m.interval = n;
  else if (key === "nn") m.wantCount = n;
  else if (key === "ss") m.wantSalt = n === 1;
  else if (key === "kp") m.keeps = n === 1;
  else if (key === "sa") m.age = n >= 0 ? n : NaN;
  else if (key === "nr") m.copies = n >= 1 && n <= MAX_COPIES ? n : NaN;
  else if (key === "tl") m.ttl = n >= 1 ? n : NaN;
  else if (key === "nt") m.natType = n;
  else if (key === "rm") m.wantRoom = n === 1, m.room = n >= 0 ? n : NaN;
  else if (n === 1) {
    m.swarm |= key === "seed" ? SEED : key === "noseed" ? NO_SEED : key === "scrape" ? SCRAPE : 0;
  }
}

function isString(s: Scanner): boolean {
  const c = s.peek();
  return c >= 0x30 && c <= 0x39;
}

function readId(s: Scanner): Id | undefined {
  return s.end - s.start === ID_BYTES ? Id.read(s.bytes, s.start) : undefined;
}

function slice(s: Scanner): Uint8Array {
  return s.bytes.subarray(s.start, s.end);
}

function readEndpoint(bytes: Uint8Array, at: number, length: number): Endpoint | undefined {
  if (length === 6) return Endpoint.read(bytes, at, 4);
  return length === 18 ? Endpoint.read(bytes, at, 6) : undefined;
}

/**
 * Reads the next string of a list, and skips other values. Returns false at the end of the list, or if the scanner
 * fails.
 */
function nextString(s: Scanner): boolean {
  while (!s.take(E)) {
    if (isString(s)) return s.string();
    if (!s.skip(3)) return false;
  }
  return false;
}

function readWant(s: Scanner): number {
  let want = 0;
  s.pos++;
  while (nextString(s)) {
    if (s.end - s.start !== 2 || s.bytes[s.start] !== 0x6e) continue;
    const c = s.bytes[s.start + 1];
    if (c === 0x34) want |= WANT_N4;
    else if (c === 0x36) want |= WANT_N6;
  }
  return want;
}

/** Reads compact endpoints. IPv4 and IPv6 endpoints may be mixed (BEP 32). Ignores all other entries. */
function readValues(s: Scanner): Endpoint[] {
  const values: Endpoint[] = [];
  s.pos++;
  while (nextString(s)) {
    const endpoint = readEndpoint(s.bytes, s.start, s.end - s.start);
    if (endpoint !== undefined && values.length < MAX_VALUES) values.push(endpoint);
  }
  return values;
}

function readError(s: Scanner, m: Message): void {
  s.pos++;
  if (s.peek() === I) m.errorCode = s.integer() || 0;
  if (!s.failed && isString(s) && s.string()) {
    const text = s.bytes.subarray(s.start, Math.min(s.end, s.start + 120));
    // Keep only printable ASCII, because the error text goes into logs and API responses.
    m.errorText = String.fromCharCode(...text).replace(/[^\x20-\x7e]/g, "?");
  }
  while (!s.failed && !s.take(E)) s.skip(2);
}

/**
 * A set of names, which finds the name that equals a range of a datagram. No two names share a slot of its hash table,
 * so it compares the range with only one name. It creates no string.
 */
class Names<N extends string> {
  readonly #names: (N | undefined)[] = new Array(NAME_SLOTS).fill(undefined);
  readonly #bytes: Uint8Array[] = new Array(NAME_SLOTS).fill(NO_NAME);
  /** The factor of the hash function, chosen so that each name has a slot of its own. */
  #factor = 0;

  constructor(...names: N[]) {
    const spelled = names.map((name) => [name, literal(name)] as const);
    const isDistinct = () =>
      new Set(spelled.map(([, bytes]) => this.#slot(bytes, 0, bytes.length))).size === names.length;
    while (!isDistinct()) {
      if (++this.#factor === NAME_SLOTS) {
        throw new Error(`two of these names would share a slot: ${names}`);
      }
    }
    for (const [name, bytes] of spelled) {
      const slot = this.#slot(bytes, 0, bytes.length);
      this.#names[slot] = name;
      this.#bytes[slot] = bytes;
    }
  }

  /** Returns the name that equals `bytes[start..end)`; undefined if there is none. */
  at(bytes: Uint8Array, start: number, end: number): N | undefined {
    if (start === end) return undefined;
    const slot = this.#slot(bytes, start, end), expected = this.#bytes[slot];
    if (expected.length !== end - start) return undefined;
    for (let i = 0; i < expected.length; i++) {
      if (bytes[start + i] !== expected[i]) return undefined;
    }
    return this.#names[slot];
  }

  /** Returns the slot of a name, which depends on the name's first byte, last byte and length. */
  #slot(bytes: Uint8Array, start: number, end: number): number {
    return (bytes[start] * this.#factor + bytes[end - 1] * 5 + end - start) & (NAME_SLOTS - 1);
  }
}

const METHOD_NAMES = new Names<Method>(...METHODS);
const TOP_KEYS = new Names("a", "e", "ip", "q", "r", "ro", "t", "v", "y");
// deno-fmt-ignore
const BODY_KEYS = new Names(
  "cas", "id", "implied_port", "info_hash", "interval", "k", "kp", "nc", "nn", "nodes", "nodes6", "nr", "nt", "num", "nx",
  "pc", "pf", "port", "rm", "rt", "sa", "salt", "samples", "seq", "sig", "ss", "target", "tl", "token", "v", "values", "want",
  "BFpe", "BFsd", "noseed", "scrape", "seed",
);

/**
 * Calls `visit` for each node of a list in compact form. If the list ends with an incomplete node, returns false and
 * calls nothing.
 */
export function readCompactNodes(
  bytes: Uint8Array,
  family: Family,
  visit: (id: Id, endpoint: Endpoint, index: number) => void,
): boolean {
  const size = COMPACT_NODE_BYTES[family];
  if (bytes.length % size !== 0) return false;
  for (let at = 0; at < bytes.length; at += size) {
    visit(Id.read(bytes, at), Endpoint.read(bytes, at + ID_BYTES, family), at / size);
  }
  return true;
}

/** The properties of a node that are written in compact form. */
export interface NodeAddress {
  readonly id: Id;
  readonly endpoint: Endpoint;
  /** The node's network coordinate in wire form: x and y in this word, z and the height in the next. */
  readonly coordinateXy?: number;
  readonly coordinateZHeight?: number;
}

/**
 * Fields that both queries and responses may have, besides the id. Undefined fields are not sent. See {@link Message}.
 */
interface Body {
  token?: Uint8Array;
  values?: readonly Endpoint[];
  seq?: Seq;
  publicKey?: Uint8Array;
  signature?: Uint8Array;
  /**
   * The salt of a mutable item. A response contains it only if the query requested it with `ss`: in plain BEP 44,
   * responses never contain the salt.
   */
  salt?: Uint8Array;
  /** The value, as bencoded bytes. */
  value?: Uint8Array;
  /** The sender's network coordinate. A response contains it only if the query had a coordinate or `nn`. */
  coordinate?: Uint8Array;
  /**
   * Whether the sender's routing table contains the receiver. A response contains this field only if the query had a
   * coordinate.
   */
  keeps?: boolean;
  /** The age of an item in seconds. A response contains it only if the query requested it with `ss` or `pc`. */
  age?: number;
  /**
   * The number of bytes of items that the receiver may still put. A response contains it only if the query requested it
   * with `rm`.
   */
  room?: number;
  natType?: number;
}

/** The arguments of a query. */
export interface QueryArguments extends Body {
  target?: Id;
  infoHash?: Id;
  want?: number;
  wantCount?: number;
  wantSalt?: boolean;
  port?: number;
  impliedPort?: boolean;
  cas?: Seq;
  copies?: number;
  ttl?: number;
  challenge?: Uint8Array;
  /** In a notice, the proof that the sender holds the new version. */
  proof?: Uint8Array;
  wantRoom?: boolean;
  returnToken?: Uint8Array;
  /** Flags about seeds; see {@link Message.swarm}. */
  swarm?: number;
}

/** The values of a response. */
export interface ResponseValues extends Body {
  nodes?: readonly NodeAddress[];
  nodes6?: readonly NodeAddress[];
  /** If set, the response also contains the network coordinates of the listed nodes of this address family. */
  coordinatesOf?: Family;
  interval?: number;
  num?: number;
  /** The proof that the sender holds the item's value. A response contains it only if the query had a challenge. */
  proof?: Uint8Array;
  samples?: Uint8Array;
  /** The Bloom filters of a swarm (BEP 33). */
  filters?: { readonly seeds: Uint8Array; readonly peers: Uint8Array };
}

const LIT = {
  queryId: literal("d1:ad2:id20:"),
  queryCas: literal("d1:ad3:cas"),
  id: literal("2:id20:"),
  impliedPort: literal("12:implied_porti1e"),
  infoHash: literal("9:info_hash20:"),
  interval: literal("8:interval"),
  k: literal("1:k"),
  kp0: literal("2:kpi0e"),
  kp1: literal("2:kpi1e"),
  nc: literal("2:nc"),
  nn: literal("2:nn"),
  nr: literal("2:nr"),
  nt: literal("2:nt"),
  noSeed: literal("6:noseedi1e"),
  nodes: literal("5:nodes"),
  nodes6: literal("6:nodes6"),
  num: literal("3:num"),
  nx: literal("2:nx"),
  pc: literal("2:pc"),
  pf: literal("2:pf"),
  port: literal("4:port"),
  rm: literal("2:rm"),
  rm1: literal("2:rmi1e"),
  rt: literal("2:rt"),
  sa: literal("2:sa"),
  salt: literal("4:salt"),
  samples: literal("7:samples"),
  scrape: literal("6:scrapei1e"),
  seed: literal("4:seedi1e"),
  seq: literal("3:seq"),
  sig: literal("3:sig"),
  ss: literal("2:ssi1e"),
  target: literal("6:target20:"),
  tl: literal("2:tl"),
  token: literal("5:token"),
  value: literal("1:v"),
  values: literal("6:valuesl"),
  want4: literal("4:wantl2:n4e"),
  want6: literal("4:wantl2:n6e"),
  wantBoth: literal("4:wantl2:n42:n6e"),
  ro: literal("2:roi1e"),
  tid4: literal("1:t4:"),
  t: literal("1:t"),
  v: literal("1:v4:"),
  z: literal("1:z"),
  typeQ: literal("1:y1:qe"),
  typeR: literal("1:y1:re"),
  typeE: literal("1:y1:ee"),
  ip4: literal("d2:ip6:"),
  ip6: literal("d2:ip18:"),
  r: literal("1:rd2:id20:"),
  rFilters: literal("1:rd4:BFpe"),
  seedFilter: literal("4:BFsd"),
  e: literal("1:eli"),
};

/**
 * For each method, the bytes that follow the arguments of a query: the end of the arguments, and the name of the
 * method.
 */
const METHOD_LITERALS = Object.fromEntries(
  METHODS.map((method) => [method, literal(`e1:q${method.length}:${method}`)]),
) as Record<Method, Uint8Array>;

/**
 * Writes a query with a transaction id of four bytes. It takes positional parameters, because an options object would
 * cost an allocation per packet.
 */
export function writeQuery(
  w: Writer,
  method: Method,
  tid: number,
  id: Id,
  client: number,
  readOnly: boolean,
  args: QueryArguments,
): void {
  const { swarm = 0 } = args;
  w.reset();
  if (args.cas === undefined) w.raw(LIT.queryId);
  else w.raw(LIT.queryCas), w.seq(args.cas), w.raw(LIT.id);
  w.id(id);
  if (args.impliedPort) w.raw(LIT.impliedPort);
  if (args.infoHash !== undefined) w.raw(LIT.infoHash), w.id(args.infoHash);
  if (args.publicKey !== undefined) w.raw(LIT.k), w.bytes(args.publicKey);
  if (args.keeps !== undefined) w.raw(args.keeps ? LIT.kp1 : LIT.kp0);
  if (args.coordinate !== undefined) w.raw(LIT.nc), w.bytes(args.coordinate);
  if (args.wantCount !== undefined) w.raw(LIT.nn), w.integer(args.wantCount);
  if (swarm & NO_SEED) w.raw(LIT.noSeed);
  if (args.copies !== undefined) w.raw(LIT.nr), w.integer(args.copies);
  if (args.natType !== undefined) w.raw(LIT.nt), w.integer(args.natType);
  if (args.challenge !== undefined) w.raw(LIT.pc), w.bytes(args.challenge);
  if (args.proof !== undefined) w.raw(LIT.pf), w.bytes(args.proof);
  if (args.port !== undefined) w.raw(LIT.port), w.integer(args.port);
  if (args.wantRoom) w.raw(LIT.rm1);
  if (args.returnToken !== undefined) w.raw(LIT.rt), w.bytes(args.returnToken);
  if (args.age !== undefined) w.raw(LIT.sa), w.integer(args.age);
  if (args.salt !== undefined && args.salt.length > 0) w.raw(LIT.salt), w.bytes(args.salt);
  if (swarm & SCRAPE) w.raw(LIT.scrape);
  if (swarm & SEED) w.raw(LIT.seed);
  if (args.seq !== undefined) w.raw(LIT.seq), w.seq(args.seq);
  if (args.signature !== undefined) w.raw(LIT.sig), w.bytes(args.signature);
  if (args.wantSalt) w.raw(LIT.ss);
  if (args.target !== undefined) w.raw(LIT.target), w.id(args.target);
  if (args.ttl !== undefined) w.raw(LIT.tl), w.integer(args.ttl);
  if (args.token !== undefined) w.raw(LIT.token), w.bytes(args.token);
  if (args.value !== undefined) w.raw(LIT.value), w.raw(args.value);
  if (args.values !== undefined) writeValues(w, args.values);
  if (args.want === WANT_N4) w.raw(LIT.want4);
  else if (args.want === WANT_N6) w.raw(LIT.want6);
  else if (args.want === (WANT_N4 | WANT_N6)) w.raw(LIT.wantBoth);
  w.raw(METHOD_LITERALS[method]);
  if (readOnly) w.raw(LIT.ro);
  w.raw(LIT.tid4);
  w.word(tid);
  w.raw(LIT.v);
  w.word(client);
  w.raw(LIT.typeQ);
}

/**
 * Extends the query that was written last to at least `length` bytes. The padding is a string of zeros under the key
 * `z`, which sorts after all other keys. A longer query may get a longer reply.
 */
export function padQuery(w: Writer, length: number): void {
  const missing = length - w.pos;
  if (missing <= 0) return;
  w.pos--; // the end of the message
  w.raw(LIT.z);
  w.length(missing);
  w.buffer.fill(0, w.pos, w.pos += missing);
  w.buffer[w.pos++] = E;
}

/** The properties of a query that are needed to answer it. */
export type Echo = Pick<Message, "packet" | "tidStart" | "tidEnd" | "method">;

/**
 * Copies the properties of a query that are needed to answer it later. The query's datagram is valid only during the
 * call that received it.
 */
export function keepEcho(query: Message): Echo {
  const { packet, tidStart, tidEnd, method } = query;
  return { packet: packet.slice(tidStart, tidEnd), tidStart: 0, tidEnd: tidEnd - tidStart, method };
}

/** Writes the response to a query. `from` is the endpoint from which the query came. */
export function writeResponse(
  w: Writer,
  query: Echo,
  from: Endpoint,
  id: Id,
  client: number,
  values: ResponseValues,
  readOnly = false,
): void {
  w.reset();
  writeIp(w, from);
  if (values.filters === undefined) w.raw(LIT.r);
  else {
    w.raw(LIT.rFilters), w.bytes(values.filters.peers);
    w.raw(LIT.seedFilter), w.bytes(values.filters.seeds);
    w.raw(LIT.id);
  }
  w.id(id);
  if (values.interval !== undefined) w.raw(LIT.interval), w.integer(values.interval);
  if (values.publicKey !== undefined) w.raw(LIT.k), w.bytes(values.publicKey);
  if (values.keeps !== undefined) w.raw(values.keeps ? LIT.kp1 : LIT.kp0);
  if (values.coordinate !== undefined) w.raw(LIT.nc), w.bytes(values.coordinate);
  if (values.nodes !== undefined) w.raw(LIT.nodes), writeNodes(w, values.nodes, 4);
  if (values.nodes6 !== undefined) w.raw(LIT.nodes6), writeNodes(w, values.nodes6, 6);
  if (values.natType !== undefined) w.raw(LIT.nt), w.integer(values.natType);
  if (values.num !== undefined) w.raw(LIT.num), w.integer(values.num);
  if (values.coordinatesOf !== undefined) {
    writeCoordinates(w, (values.coordinatesOf === 4 ? values.nodes : values.nodes6) ?? []);
  }
  if (values.proof !== undefined) w.raw(LIT.pf), w.bytes(values.proof);
  if (values.room !== undefined) w.raw(LIT.rm), w.integer(values.room);
  if (values.age !== undefined) w.raw(LIT.sa), w.integer(values.age);
  if (values.salt !== undefined) w.raw(LIT.salt), w.bytes(values.salt);
  if (values.samples !== undefined) w.raw(LIT.samples), w.bytes(values.samples);
  if (values.seq !== undefined) w.raw(LIT.seq), w.seq(values.seq);
  if (values.signature !== undefined) w.raw(LIT.sig), w.bytes(values.signature);
  if (values.token !== undefined) w.raw(LIT.token), w.bytes(values.token);
  if (values.value !== undefined) w.raw(LIT.value), w.raw(values.value);
  if (values.values !== undefined) writeValues(w, values.values);
  w.buffer[w.pos++] = E;
  if (readOnly) w.raw(LIT.ro);
  writeTail(w, query, client, LIT.typeR);
}

/** Writes an error as the answer to a query. `from` is the endpoint from which the query came. */
export function writeError(
  w: Writer,
  query: Echo,
  from: Endpoint,
  client: number,
  code: number,
  text: string,
): void {
  w.reset();
  w.buffer[w.pos++] = D;
  w.raw(LIT.e);
  w.decimal(code);
  w.buffer[w.pos++] = E;
  w.ascii(text);
  w.buffer[w.pos++] = E;
  // Keys must be sorted, so `ip` follows `e`. The dictionary has already begun, so skip the `d` at the start of the
  // literal for `ip`.
  writeIp(w, from, 1);
  writeTail(w, query, client, LIT.typeE);
}

function writeIp(w: Writer, from: Endpoint, skip = 0): void {
  const key = from.family === 4 ? LIT.ip4 : LIT.ip6;
  w.range(key, skip, key.length);
  writeEndpoint(w, from);
}

function writeTail(w: Writer, query: Echo, client: number, type: Uint8Array): void {
  w.raw(LIT.t);
  w.length(query.tidEnd - query.tidStart);
  w.range(query.packet, query.tidStart, query.tidEnd);
  w.raw(LIT.v);
  w.word(client);
  w.raw(type);
}

function writeValues(w: Writer, values: readonly Endpoint[]): void {
  w.raw(LIT.values);
  for (const endpoint of values) {
    w.length(Endpoint.compactLength(endpoint.family));
    writeEndpoint(w, endpoint);
  }
  w.buffer[w.pos++] = E;
}

function writeEndpoint(w: Writer, endpoint: Endpoint): void {
  endpoint.write(w.buffer, w.pos);
  w.pos += Endpoint.compactLength(endpoint.family);
}

function writeCoordinates(w: Writer, nodes: readonly NodeAddress[]): void {
  w.raw(LIT.nx);
  w.length(8 * nodes.length);
  for (let i = 0; i < nodes.length; i++) {
    w.word(nodes[i].coordinateXy ?? 0);
    w.word(nodes[i].coordinateZHeight ?? 0);
  }
}

function writeNodes(w: Writer, nodes: readonly NodeAddress[], family: Family): void {
  w.length(nodes.length * COMPACT_NODE_BYTES[family]);
  for (let i = 0; i < nodes.length; i++) {
    w.id(nodes[i].id);
    writeEndpoint(w, nodes[i].endpoint);
  }
}
