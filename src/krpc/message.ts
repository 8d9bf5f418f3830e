// KRPC messages (BEP 5, 32, 43, 44, 51): bytes to a validated view and back.

import { literal, Scanner, type Writer } from "./bencode.ts";
import { Endpoint, type Family } from "./endpoint.ts";
import { Id, ID_BYTES, word } from "./id.ts";

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

export type Method =
  | "ping"
  | "find_node"
  | "get_peers"
  | "announce_peer"
  | "get"
  | "put"
  | "sample_infohashes"
  /** This project's extensions for nodes behind NATs. */
  | "dm_pass"
  | "dm_probe"
  | "dm_punch";

/** Why a datagram was dropped without an answer. */
export type DropReason = "malformed" | "no_transaction" | "unknown_type";

/** Flags of `want` (BEP 32). */
export const WANT_N4 = 1, WANT_N6 = 2;

/** Bytes of a compact node: id and endpoint (BEP 5, BEP 32). */
export const COMPACT_NODE_BYTES = { 4: 26, 6: 38 } as const;

/** `values` beyond these are ignored: more than any reply that fits a datagram carries. */
const MAX_VALUES = 256;

/** Longer tokens are ignored: with the largest item beside it in a `put`, the packet must stay under 1,400 bytes. */
const MAX_TOKEN = 64;

/** The longest transaction id that is echoed. BEP 5 says two bytes are enough; some use 8 and more. */
const MAX_TID = 64;

/**
 * One message as it arrived. Its byte fields are views into the datagram: who keeps them copies them. A field that
 * was missing, or of the wrong type or length, is undefined, NaN or 0; whether that is an error depends on the method.
 *
 * One flat class for queries, responses and errors, so that the code of the packet path sees one shape.
 */
export class Message {
  type: "q" | "r" | "e" = "q";
  /** The query's name as sent, known or not; undefined in responses. */
  method: Method | "unknown" | undefined = undefined;
  /** Transaction id, echoed byte for byte: `packet[tidStart..tidEnd)`. */
  tidStart = 0;
  tidEnd = 0;
  /** The `v` of four bytes as a word; 0 where there is none. */
  client = 0;
  /** `ro`: the sender answers no queries (BEP 43); of ours in responses too. */
  readOnly = false;
  /** `ip`: our endpoint as the responder sees it (BEP 42). */
  ip: Endpoint | undefined = undefined;
  /** Whether `a` or `r` was there, as a dictionary. */
  hasBody = false;

  id: Id | undefined = undefined;
  target: Id | undefined = undefined;
  infoHash: Id | undefined = undefined;
  want = 0;
  /** How many nodes the asker takes in a reply (this project's extension); NaN where it did not say. */
  wantCount = NaN;
  /** Whether the asker wants the salt of a mutable item as well (this project's extension). */
  wantSalt = false;
  port = NaN;
  impliedPort = false;
  token: Uint8Array | undefined = undefined;
  seq = NaN;
  cas = NaN;
  /** Whether `seq` or `cas` was there at all: a bad one differs from none. */
  hasSeq = false;
  hasCas = false;
  publicKey: Uint8Array | undefined = undefined;
  signature: Uint8Array | undefined = undefined;
  salt: Uint8Array | undefined = undefined;
  /** The value's bencoded bytes, exactly as received. */
  value: Uint8Array | undefined = undefined;
  nodes: Uint8Array | undefined = undefined;
  nodes6: Uint8Array | undefined = undefined;
  values: Endpoint[] | undefined = undefined;
  samples: Uint8Array | undefined = undefined;
  /** The sender's network coordinate, and those of its nodes in their order (this project's extension). */
  coordinate: Uint8Array | undefined = undefined;
  nodeCoordinates: Uint8Array | undefined = undefined;
  /** Whether the sender keeps us in its routing table (this project's extension); undefined where it did not say. */
  keeps: boolean | undefined = undefined;
  /** Whether the asker sees to an item's copies, and wants to know who holds it (this project's extension). */
  seesTo = false;
  /** Seconds since an item's owner last put it (this project's extension); NaN where it was not said. */
  age = NaN;
  /** With what a message is sent back the way that it came (this project's extension). */
  returnToken: Uint8Array | undefined = undefined;
  /** How the sender's NAT maps ports (this project's extension); NaN where it did not say. */
  natType = NaN;
  num = NaN;
  interval = NaN;
  errorCode = 0;
  errorText = "";

  constructor(readonly packet: Uint8Array) {}
}

const D = 0x64, E = 0x65, I = 0x69, L = 0x6c, Q = 0x71, R = 0x72;

/** Decodes a datagram, or says why it is none of KRPC's. Never throws. */
export function decode(packet: Uint8Array): Message | DropReason {
  const s = new Scanner(packet);
  if (!s.take(D)) return "malformed";
  const m = new Message(packet);
  let type = 0, hasTid = false;
  while (!s.take(E)) {
    if (!s.string()) return "malformed";
    const key = nameAt(TOP_KEYS, packet, s.start, s.end);
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
          m.method = nameAt(METHODS, packet, s.start, s.end) ?? "unknown";
          break;
        case "v":
          if (s.end - s.start === 4) m.client = word(packet, s.start);
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
  if (s.pos !== packet.length) return "malformed";
  if (!hasTid) return "no_transaction";
  if (type === Q && m.method !== undefined) m.type = "q";
  else if (type === R && m.hasBody) m.type = "r";
  else if (type === E) m.type = "e";
  else return "unknown_type";
  return m;
}

/** The arguments of a query or the values of a response: their keys don't collide, so one reader serves both. */
function readBody(s: Scanner, m: Message): void {
  s.pos++;
  while (!s.take(E)) {
    if (!s.string()) return;
    const key = nameAt(BODY_KEYS, s.bytes, s.start, s.end);
    const from = s.pos;
    if (key === "v") {
      if (!s.skip()) return; // nested as deep as isCanonical takes it
      m.value = s.bytes.subarray(from, s.pos);
    } else if (isString(s)) {
      if (!s.string()) return;
      readString(s, m, key);
    } else if (s.peek() === I) {
      const n = s.integer();
      if (s.failed) return;
      readInteger(m, key, n);
    } else if (key === "want" && s.peek() === L) m.want = readWant(s);
    else if (key === "values" && s.peek() === L) m.values = readValues(s);
    else if (!s.skip(2)) return;
    if (key === "seq") m.hasSeq = true;
    else if (key === "cas") m.hasCas = true;
  }
}

function readString(s: Scanner, m: Message, key: string | undefined): void {
  switch (key) {
    case "id":
      m.id = readId(s);
      break;
    case "target":
      m.target = readId(s);
      break;
    case "info_hash":
      m.infoHash = readId(s);
      break;
    case "nodes":
      m.nodes = slice(s);
      break;
    case "nodes6":
      m.nodes6 = slice(s);
      break;
    case "token":
      if (s.end - s.start <= MAX_TOKEN) m.token = slice(s);
      break;
    case "k":
      m.publicKey = slice(s);
      break;
    case "sig":
      m.signature = slice(s);
      break;
    case "salt":
      m.salt = slice(s);
      break;
    case "samples":
      m.samples = slice(s);
      break;
    case "nc":
      m.coordinate = slice(s);
      break;
    case "nx":
      m.nodeCoordinates = slice(s);
      break;
    case "rt":
      m.returnToken = slice(s);
      break;
  }
}

function readInteger(m: Message, key: string | undefined, n: number): void {
  switch (key) {
    case "port":
      m.port = n;
      break;
    case "implied_port":
      m.impliedPort = n !== 0 && !Number.isNaN(n);
      break;
    case "seq":
      m.seq = n;
      break;
    case "cas":
      m.cas = n;
      break;
    case "num":
      m.num = n;
      break;
    case "interval":
      m.interval = n;
      break;
    case "nn":
      m.wantCount = n;
      break;
    case "ss":
      m.wantSalt = n === 1;
      break;
    case "kp":
      m.keeps = n === 1;
      break;
    case "pc":
      m.seesTo = n === 1;
      break;
    case "sa":
      m.age = n >= 0 ? n : NaN;
      break;
    case "nt":
      m.natType = n;
      break;
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

function readWant(s: Scanner): number {
  let want = 0;
  s.pos++;
  while (!s.take(E)) {
    if (!isString(s)) {
      if (!s.skip(3)) return 0;
      continue;
    }
    if (!s.string()) return 0;
    if (s.end - s.start !== 2 || s.bytes[s.start] !== 0x6e) continue;
    const c = s.bytes[s.start + 1];
    if (c === 0x34) want |= WANT_N4;
    else if (c === 0x36) want |= WANT_N6;
  }
  return want;
}

/** Entries of 6 and of 18 bytes may be mixed (BEP 32); others are passed over. */
function readValues(s: Scanner): Endpoint[] {
  const values: Endpoint[] = [];
  s.pos++;
  while (!s.take(E)) {
    if (!isString(s)) {
      if (!s.skip(3)) return values;
      continue;
    }
    if (!s.string()) return values;
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
    // Printable ASCII only: it goes into logs and answers.
    m.errorText = String.fromCharCode(...text).replace(/[^\x20-\x7e]/g, "?");
  }
  while (!s.failed && !s.take(E)) s.skip(2);
}

/** Names by their length, each with its bytes. */
type Names<N extends string> = readonly (readonly (readonly [N, Uint8Array])[])[];

function byLength<N extends string>(...names: N[]): Names<N> {
  const table: [N, Uint8Array][][] = Array.from({ length: MAX_NAME + 1 }, () => []);
  for (const name of names) table[name.length].push([name, literal(name)]);
  return table;
}

/** The name whose bytes stand at `start`, without making a string of them; undefined where none does. */
function nameAt<N extends string>(
  names: Names<N>,
  bytes: Uint8Array,
  start: number,
  end: number,
): N | undefined {
  const length = end - start;
  if (length > MAX_NAME) return undefined;
  const sameLength = names[length];
  next: for (let n = 0; n < sameLength.length; n++) {
    const name = sameLength[n][1];
    for (let i = 0; i < length; i++) if (bytes[start + i] !== name[i]) continue next;
    return sameLength[n][0];
  }
  return undefined;
}

const MAX_NAME = 17;
const METHODS = byLength<Method>(
  "ping",
  "find_node",
  "get_peers",
  "announce_peer",
  "get",
  "put",
  "sample_infohashes",
  "dm_pass",
  "dm_probe",
  "dm_punch",
);
const TOP_KEYS = byLength("a", "e", "ip", "q", "r", "ro", "t", "v", "y");
const BODY_KEYS = byLength(
  "cas",
  "id",
  "implied_port",
  "info_hash",
  "interval",
  "k",
  "kp",
  "nc",
  "nn",
  "nodes",
  "nodes6",
  "num",
  "nx",
  "pc",
  "port",
  "sa",
  "salt",
  "samples",
  "seq",
  "sig",
  "ss",
  "target",
  "token",
  "v",
  "values",
  "want",
  "nt",
  "rt",
);

/** Calls `visit` for each compact node in `bytes`; a length that is no multiple of the entry's is refused whole. */
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

/** Anything with an id and an endpoint can be written as a compact node. */
export interface NodeAddress {
  readonly id: Id;
  readonly endpoint: Endpoint;
  /** Its network coordinate in the wire's form, as two words. */
  readonly coordinateXy?: number;
  readonly coordinateZHeight?: number;
}

/** What a query asks, beyond the sender's id. Keys that are undefined are left out. */
export interface QueryArguments {
  target?: Id;
  infoHash?: Id;
  want?: number;
  wantCount?: number;
  wantSalt?: boolean;
  port?: number;
  impliedPort?: boolean;
  token?: Uint8Array;
  seq?: number;
  cas?: number;
  publicKey?: Uint8Array;
  signature?: Uint8Array;
  salt?: Uint8Array;
  /** Bencoded. */
  value?: Uint8Array;
  coordinate?: Uint8Array;
  keeps?: boolean;
  seesTo?: boolean;
  age?: number;
  returnToken?: Uint8Array;
  natType?: number;
  values?: readonly Endpoint[];
}

/** What a response carries, beyond the sender's id. */
export interface ResponseValues {
  nodes?: readonly NodeAddress[];
  nodes6?: readonly NodeAddress[];
  token?: Uint8Array;
  values?: readonly Endpoint[];
  seq?: number;
  publicKey?: Uint8Array;
  signature?: Uint8Array;
  /** Only for askers that set `ss`: BEP 44 itself never returns the salt. */
  salt?: Uint8Array;
  /** Bencoded. */
  value?: Uint8Array;
  interval?: number;
  /** Only for askers that set `nn`. */
  coordinate?: Uint8Array;
  /** The family of which the nodes' coordinates are sent as well. */
  coordinatesOf?: Family;
  /** Only for askers that sent their coordinate. */
  keeps?: boolean;
  /** Only for askers that set `ss` or `pc`. */
  age?: number;
  num?: number;
  samples?: Uint8Array;
  /** Only to `dm_punch`. */
  natType?: number;
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
  nt: literal("2:nt"),
  nodes: literal("5:nodes"),
  nodes6: literal("6:nodes6"),
  num: literal("3:num"),
  nx: literal("2:nx"),
  pc: literal("2:pci1e"),
  port: literal("4:port"),
  rt: literal("2:rt"),
  sa: literal("2:sa"),
  salt: literal("4:salt"),
  samples: literal("7:samples"),
  seq: literal("3:seq"),
  sig: literal("3:sig"),
  ss: literal("2:ssi1e"),
  target: literal("6:target20:"),
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
  typeQ: literal("1:y1:qe"),
  typeR: literal("1:y1:re"),
  typeE: literal("1:y1:ee"),
  ip4: literal("d2:ip6:"),
  ip6: literal("d2:ip18:"),
  r: literal("1:rd2:id20:"),
  e: literal("1:eli"),
};

const METHOD_LITERALS: Record<Method, Uint8Array> = {
  ping: literal("e1:q4:ping"),
  find_node: literal("e1:q9:find_node"),
  get_peers: literal("e1:q9:get_peers"),
  announce_peer: literal("e1:q13:announce_peer"),
  get: literal("e1:q3:get"),
  put: literal("e1:q3:put"),
  sample_infohashes: literal("e1:q17:sample_infohashes"),
  dm_pass: literal("e1:q7:dm_pass"),
  dm_probe: literal("e1:q8:dm_probe"),
  dm_punch: literal("e1:q8:dm_punch"),
};

/** Writes a query with a transaction id of four bytes. Keys are in bencode's order: some peers search for them. */
export function writeQuery(
  w: Writer,
  method: Method,
  tid: number,
  id: Id,
  client: number,
  readOnly: boolean,
  args: QueryArguments,
): void {
  w.reset();
  if (args.cas === undefined) w.raw(LIT.queryId);
  else w.raw(LIT.queryCas), w.integer(args.cas), w.raw(LIT.id);
  w.id(id);
  if (args.impliedPort) w.raw(LIT.impliedPort);
  if (args.infoHash !== undefined) w.raw(LIT.infoHash), w.id(args.infoHash);
  if (args.publicKey !== undefined) w.raw(LIT.k), w.bytes(args.publicKey);
  if (args.keeps !== undefined) w.raw(args.keeps ? LIT.kp1 : LIT.kp0);
  if (args.coordinate !== undefined) w.raw(LIT.nc), w.bytes(args.coordinate);
  if (args.wantCount !== undefined) w.raw(LIT.nn), w.integer(args.wantCount);
  if (args.natType !== undefined) w.raw(LIT.nt), w.integer(args.natType);
  if (args.seesTo) w.raw(LIT.pc);
  if (args.port !== undefined) w.raw(LIT.port), w.integer(args.port);
  if (args.returnToken !== undefined) w.raw(LIT.rt), w.bytes(args.returnToken);
  if (args.age !== undefined) w.raw(LIT.sa), w.integer(args.age);
  if (args.salt !== undefined && args.salt.length > 0) w.raw(LIT.salt), w.bytes(args.salt);
  if (args.seq !== undefined) w.raw(LIT.seq), w.integer(args.seq);
  if (args.signature !== undefined) w.raw(LIT.sig), w.bytes(args.signature);
  if (args.wantSalt) w.raw(LIT.ss);
  if (args.target !== undefined) w.raw(LIT.target), w.id(args.target);
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

/** What of a query its reply repeats. */
export type Echo = Pick<Message, "packet" | "tidStart" | "tidEnd" | "method">;

/** The part of a query that its reply needs, copied out of the datagram: for a reply that comes later. */
export function keepEcho(query: Message): Echo {
  const { packet, tidStart, tidEnd, method } = query;
  return { packet: packet.slice(tidStart, tidEnd), tidStart: 0, tidEnd: tidEnd - tidStart, method };
}

/** Writes the response to `query`, which came from `from`. */
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
  w.raw(LIT.r);
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
  if (values.age !== undefined) w.raw(LIT.sa), w.integer(values.age);
  if (values.salt !== undefined) w.raw(LIT.salt), w.bytes(values.salt);
  if (values.samples !== undefined) w.raw(LIT.samples), w.bytes(values.samples);
  if (values.seq !== undefined) w.raw(LIT.seq), w.integer(values.seq);
  if (values.signature !== undefined) w.raw(LIT.sig), w.bytes(values.signature);
  if (values.token !== undefined) w.raw(LIT.token), w.bytes(values.token);
  if (values.value !== undefined) w.raw(LIT.value), w.raw(values.value);
  if (values.values !== undefined) writeValues(w, values.values);
  w.buffer[w.pos++] = E;
  if (readOnly) w.raw(LIT.ro);
  writeTail(w, query, client, LIT.typeR);
}

/** Writes an error in answer to `query`. */
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
  // `ip` sorts after `e`: it can't be the common beginning here.
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
