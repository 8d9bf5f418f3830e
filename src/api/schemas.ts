// Schemas of the API's requests. The schemas of its reports are in src/reports.

import { Buffer } from "node:buffer";
import { z } from "zod";
import { type HostPort, parseHostPort } from "../config/addresses.ts";
import { parseDenied } from "../config/deny_list.ts";
import { type Magnet, parseMagnet } from "../krpc/magnet.ts";
import { parseSeq } from "../krpc/seq.ts";
import { EVENT_TYPES } from "../reports/events.ts";
import { health, HELLO, NODE_ID, seq, SIGNED_KEY } from "../reports/fields.ts";
import { MAX_TTL_S, MIN_TTL_S } from "../reports/time.ts";
import { HistoryRange } from "../reports/stats.ts";
import { PeerSort } from "../reports/peers.ts";
import { MAGNET } from "../reports/magnets.ts";
import { SERVICE_HASH } from "../reports/swarms.ts";
import type { SwarmName } from "../node_service.ts";

/** Maximum bytes of a key, which becomes the salt of a mutable item (BEP 44). */
export const MAX_KEY_BYTES = 64;
/** Maximum number of nodes that one walk through the network asks. At 20 queries per second, such a walk takes 50 s. */
const MAX_WALK_QUERIES = 1_000;
/** Maximum number of peers in one response: more than the largest routing table holds. */
const MAX_PEERS_LIMIT = 10_000;
/** Maximum number of published values in one response, because the node visits all items of each listed value. */
const MAX_PUBLISHED_LIMIT = 1_000;
/** Maximum number of held items in one response. A map could not show more dots. */
const MAX_HELD_LIMIT = 5_000;
/** Maximum length of an entry of the deny list. The longest valid entry, a public key in hex, is shorter. */
const MAX_DENIED_CHARACTERS = 100;
/** Maximum value of min_replicas: the largest possible K_BUCKET_SIZE. */
const MAX_REPLICAS = 128;

const HEX = "^[0-9a-fA-F]{40}$";

/** Accepts an id or hash in upper or lower case, and converts it to lower case. */
const hexId = z.string().regex(new RegExp(HEX), "expected 40 hex digits")
  .transform((hex) => hex.toLowerCase());

function idParameter(name: string, example: string) {
  return hexId.meta({
    param: { name, in: "path", example },
    type: "string",
    pattern: HEX,
    examples: [NODE_ID],
  });
}

/** Maximum characters of a text to search for, and maximum number of events in the answer to a search. */
const MAX_SEARCH = 200, MAX_FOUND_EVENTS = 1_000;

function wholeNumber(minimum: number, maximum: number) {
  const error = `expected a whole number from ${minimum} to ${maximum}`;
  return z.string().regex(/^\d{1,16}$/, error).transform(Number)
    .refine((n) => n >= minimum && n <= maximum, { error })
    .meta({ type: "integer", minimum, maximum });
}

/** A version number as a query parameter. */
const querySeq = z.preprocess((digits) => parseSeq(`${digits}`), seq)
  .meta({ type: "integer", format: "int64", minimum: 0 });

/** A version number in a JSON body. Beyond 2^53 it may be a string, for clients whose JSON would round the number. */
const bodySeq = z.preprocess((given) => {
  const exact = typeof given === "string" ? parseSeq(given) : undefined;
  return typeof exact === "bigint" ? exact : given;
}, seq).meta({ type: "integer", format: "int64", minimum: 0 });

/** Schema of an optional query parameter or header. */
function text(description: string, meta: Readonly<Record<string, unknown>> = {}) {
  return z.string().optional().meta({ description, ...meta });
}

const flag = z.enum(["1", "true", "0", "false"]).default("0")
  .transform((text) => text === "1" || text === "true")
  .meta({ type: "string", enum: ["1", "true", "0", "false"] });

export const NodeIdParams = z.object({ node_id: idParameter("node_id", NODE_ID) });
export const hashParams = (example = HELLO) => z.object({ hash: idParameter("hash", example) });
export const HashParams = hashParams();

export const PingQuery = z.object({
  address: z.string().transform((text, context): HostPort => {
    const node = parseHostPort(text.trim());
    if (typeof node !== "string") return node;
    context.addIssue({ code: "custom", message: `it ${node}` });
    return z.NEVER;
  }).meta({
    type: "string",
    examples: ["dht.example.org:8000"],
    param: { example: "192.0.2.10:8000" },
  }),
});

/** A query that names one entry of the deny list. Keeps the text of a valid entry as the client wrote it. */
export const DenyQuery = z.object({
  entry: z.string().max(MAX_DENIED_CHARACTERS).refine(
    (text) => typeof parseDenied(text) !== "string",
    {
      error: "expected an address, CIDR, node id or public key",
    },
  ).meta({
    description: "An address, a CIDR, a node id (40 hex digits) or a public key (64 hex digits).",
    examples: ["203.0.113.7"],
    param: { example: "203.0.113.7" },
  }),
});

/** Maximum bytes of the name of a service. */
export const MAX_SERVICE_BYTES = 64;

const SERVICE_PREFIX = "service:";

/** A swarm in a path: an info-hash, or `service:` and the name of a service. */
export const SwarmParams = z.object({
  info_hash: z.string().transform((text, context): SwarmName => {
    if (new RegExp(HEX).test(text)) return { infoHash: text.toLowerCase() };
    const service = text.startsWith(SERVICE_PREFIX) ? text.slice(SERVICE_PREFIX.length) : undefined;
    const size = service === undefined ? 0 : new TextEncoder().encode(service).length;
    // deno-lint-ignore no-control-regex
    const isPlain = service !== undefined && !/[\0-\x1f\x7f]/.test(service);
    if (isPlain && size >= 1 && size <= MAX_SERVICE_BYTES) return { service };
    const message = service === undefined
      ? `expected 40 hex digits, or ${SERVICE_PREFIX} and a name`
      : `expected a name of 1 to ${MAX_SERVICE_BYTES} bytes without control characters`;
    context.addIssue({ code: "custom", message });
    return z.NEVER;
  }).meta({
    param: { name: "info_hash", in: "path", example: SERVICE_HASH },
    type: "string",
    pattern: `^([0-9a-fA-F]{40}|${SERVICE_PREFIX}.+)$`,
    examples: [SERVICE_HASH],
    description: "40 hex digits; or `service:` and a name of 1 to 64 bytes, which stands for an " +
      "info-hash",
  }),
});

export const PeersOfSwarmQuery = z.object({
  noseed: flag.meta({
    description: "Ask only for peers that don't seed. Nodes without BEP 33 ignore this.",
    param: { example: "0" },
  }),
  scrape: flag.meta({
    description: "Estimate how many addresses seed, and how many don't (BEP 33).",
    param: { example: "1" },
  }),
});

export const SamplesQuery = z.object({
  queries: wholeNumber(1, MAX_WALK_QUERIES).default(50).meta({
    description: "The budget: how many nodes to ask. Each gets one query, up to 20 a second.",
    param: { example: 50 },
  }),
});

/** The JSON body of `POST /network/swarms/{info_hash}`. */
export const AnnounceRequest = z.strictObject({
  port: z.int().min(1).max(65_535).optional().meta({
    description: "The port at which the peer listens, on this host. The default is the UDP port " +
      "of this node, as other nodes see it.",
  }),
  seed: z.boolean().optional().meta({ description: "Whether the peer seeds (BEP 33)." }),
}).meta({ id: "AnnounceRequest" });

export const PeersQuery = z.object({
  health: health.optional().meta({ param: { example: "healthy" } }),
  sort: PeerSort.default("score").meta({
    description: "score and last_seen: highest first; the others: lowest first, unknown last",
    param: { example: "score" },
  }),
  limit: wholeNumber(1, MAX_PEERS_LIMIT).optional().meta({ param: { example: 50 } }),
});

export const FindQuery = z.object({ trace: flag.meta({ param: { example: "1" } }) });

export const HistoryQuery = z.object({
  range: HistoryRange.default("hour").meta({
    description: "An hour, a day, or thirty days.",
    param: { example: "day" },
  }),
  after: z.iso.datetime({ error: "expected a time such as 2026-04-14T10:29:55Z" }).optional()
    .meta({
      description: "Only samples after this time.",
      param: { example: "2026-04-14T10:00:00Z" },
    }),
});

export const PublishedQuery = z.object({
  limit: wholeNumber(1, MAX_PUBLISHED_LIMIT).default(100).meta({ param: { example: 10 } }),
  offset: wholeNumber(0, Number.MAX_SAFE_INTEGER).default(0).meta({ param: { example: 0 } }),
  hash: hexId.optional().meta({
    type: "string",
    pattern: HEX,
    description: "Only this value.",
    param: { example: HELLO },
  }),
  at_risk: z.literal("1").optional().meta({
    description: "Only values that are short of copies, failing, ending, or on this node only.",
  }),
});

export const PublishedSearchQuery = PublishedQuery.extend({
  q: z.string().max(MAX_SEARCH).optional().meta({
    description:
      "Only values whose hash begins with this text, or whose key contains it. Letter case is ignored.",
    param: { example: "config" },
  }),
});

export const HeldQuery = z.object({
  limit: wholeNumber(1, MAX_HELD_LIMIT).default(1_000).meta({ param: { example: 10 } }),
});

const MIN_REPLICAS = "Nodes that must acknowledge the value: 1 to K_BUCKET_SIZE. The default is " +
  "MIN_REPLICAS of the configuration.";
const TTL =
  "Seconds for which other nodes keep the value after this node last published it: one hour to seven days. The " +
  "default is a day. Implementations other than dmnode ignore it.";
const CAS = "With a key: the seq that the newest version must have; 0: there must be no version.";

/** Query of `PUT /data/{hash}`. */
export const SignedQuery = z.object({
  min_replicas: wholeNumber(1, MAX_REPLICAS).optional().meta({ description: MIN_REPLICAS }),
  ttl: wholeNumber(MIN_TTL_S, MAX_TTL_S).optional().meta({ description: TTL }),
});

/** Query of `POST /network/store`. */
export const StoreQuery = SignedQuery.extend({
  key: text(`Makes the value mutable: 1 to ${MAX_KEY_BYTES} bytes of UTF-8.`),
  cas: querySeq.optional().meta({ description: CAS }),
  seal: flag.meta({
    description: "Encrypts the value before it is stored. The answer has a `link` with the key.",
  }),
});

/** Headers of `POST /network/store`. */
export const StoreHeaders = z.object({
  "x-seal-key": text(
    "With `seal`: the key to use, from the link of an earlier version, so that this link stays valid. The default is " +
      "a new key.",
  ),
  "x-transfer-label": text(
    "Labels the transfer in /network/transfers: 1 to 64 visible ASCII characters.",
  ),
  "x-transfer-length": text(
    "The number of bytes of a body that is sent without Content-Length. With either, a value that is too large, or " +
      "that the network has no room for, is refused before its first byte is read.",
  ),
});

/** Query of `GET /data/{hash}`. */
export const FetchQuery = z.object({
  key: text("The key of a mutable value. It is needed if no holder sends the key."),
  replicas: flag.meta({ description: "Lists the holders of the value instead of fetching it." }),
});

/** Headers of `GET /data/{hash}`. */
export const FetchHeaders = z.object({
  "x-seal-key": text(
    "The key of a sealed value: the part of its link after `#`. The node then opens the value.",
  ),
  "range": text("One range of bytes of an immutable or chunked value (RFC 9110, section 14.2).", {
    examples: ["bytes=0-4"],
  }),
  "if-range": text("An ETag. If the value has a different ETag, Range is ignored."),
  "if-none-match": text(
    "ETags that the client has. If one of them is the value's ETag, the answer is 304.",
  ),
  "last-event-id": text("With Accept: text/event-stream: a seq. Only newer versions are sent."),
});

const bodyTtl = z.int().min(MIN_TTL_S).max(MAX_TTL_S).optional().meta({ description: TTL });

/** The JSON body of `POST /network/store`. */
export const StoreRequest = z.strictObject({
  value: z.unknown().refine((value) => value !== undefined, { error: "is missing" }).meta({
    description: "A string is stored as its bytes, any other value as its JSON text.",
  }),
  key: z.string().optional(),
  encoding: z.enum(["utf8", "base64"]).optional().meta({
    description: "The encoding of a string `value`; utf8 by default.",
  }),
  min_replicas: z.int().min(1).max(MAX_REPLICAS).optional().meta({ description: MIN_REPLICAS }),
  ttl: bodyTtl,
  cas: bodySeq.optional().meta({ description: CAS }),
}).meta({ id: "StoreRequest" });

/** Accepts standard base64 (RFC 4648, section 4) of `min` to `max` bytes, with or without padding. */
function base64(min: number, max: number) {
  return z.string().transform((text, context): Uint8Array => {
    const bytes = decodeBase64(text);
    const length = bytes?.length ?? -1;
    if (bytes !== undefined && length >= min && length <= max) return bytes;
    const size = min === max ? `${min} bytes` : `${min} to ${max} bytes`;
    context.addIssue({
      code: "custom",
      message: max === Infinity ? "expected base64" : `expected the base64 of ${size}`,
    });
    return z.NEVER;
  }).meta({ type: "string", format: "byte" });
}

/** Decodes standard base64. Returns undefined if `text` is not valid base64. */
export function decodeBase64(text: string): Uint8Array | undefined {
  // Check the characters first: depending on the version of Deno, Buffer skips invalid ones or throws.
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return undefined;
  const digits = text.replace(/=+$/, "");
  if (digits.length % 4 === 1 || (digits !== text && text.length % 4 !== 0)) return undefined;
  const bytes = Buffer.from(text, "base64");
  // The unused bits of the last digit must be zero, so that every value has only one encoding.
  const tail = bytes.toString("base64", bytes.length - bytes.length % 3).replace(/=+$/, "");
  if (!digits.endsWith(tail)) return undefined;
  return new Uint8Array(bytes); // a copy, since small Buffers share memory
}

/** The JSON body of `PUT /data/{hash}`: an item that was signed as in BEP 44. */
export const SignedRequest = z.strictObject({
  k: base64(32, 32).meta({ description: "Ed25519 public key" }),
  sig: base64(64, 64).meta({ description: "signature over salt, seq and v (BEP 44)" }),
  seq: bodySeq,
  salt: base64(0, MAX_KEY_BYTES).optional(),
  v: base64(0, Infinity).meta({ description: "the value's bytes, not bencoded" }),
  cas: bodySeq.optional().meta({ description: "the seq that the stored version must have" }),
  min_replicas: z.int().min(1).max(MAX_REPLICAS).optional().meta({ description: MIN_REPLICAS }),
  ttl: bodyTtl,
}).meta({ id: "SignedRequest" });

/** The JSON body of `POST /network/magnets`. */
export const MagnetRequest = z.strictObject({
  info_hash: hexId.meta({ type: "string", pattern: HEX, examples: [SERVICE_HASH] }),
  key: z.string().min(1, "is empty").meta({
    description: `Names the link among those of this node: 1 to ${MAX_KEY_BYTES} bytes of UTF-8.`,
  }),
  min_replicas: z.int().min(1).max(MAX_REPLICAS).optional().meta({ description: MIN_REPLICAS }),
  ttl: bodyTtl,
  cas: bodySeq.optional().meta({ description: CAS }),
}).meta({ id: "MagnetRequest" });

export const MagnetQuery = z.object({
  magnet: z.string().transform((text, context): Magnet => {
    const magnet = parseMagnet(text);
    if (magnet !== undefined) return magnet;
    const message =
      "expected magnet:?xs=urn:btpk: and 64 hex digits, and maybe &s= and a salt in hex";
    context.addIssue({ code: "custom", message });
    return z.NEVER;
  }).meta({ type: "string", examples: [MAGNET], param: { example: MAGNET } }),
});

/** The JSON body of `POST /network/pin`. */
export const PinRequest = z.strictObject({
  hash: hexId.optional().meta({ type: "string", pattern: HEX, examples: [HELLO] }),
  key: z.string().optional().meta({
    description:
      "The key of a mutable value. With `hash`, it is needed if no holder sends the key.",
  }),
  public_key: z.string().regex(/^[0-9a-fA-F]{64}$/, "expected 64 hex digits").optional().meta({
    description:
      "With a key, instead of a hash: the Ed25519 key of its owner. The default is this node's.",
    examples: [SIGNED_KEY],
  }),
  ttl: bodyTtl,
}).meta({ id: "PinRequest" });

export const EventsQuery = z.object({
  types: z.string().optional().meta({
    description:
      `Types, separated by commas: ${EVENT_TYPES.join(", ")}. data.* selects all types that ` +
      "begin with data., and * all types except lookup.step.",
    examples: ["peer.*,data.*"],
    param: { example: "peer.*,data.*" },
  }),
  since: wholeNumber(0, Number.MAX_SAFE_INTEGER).optional().meta({
    description: "The id of the last event that the client has. Later events are sent first.",
  }),
});

/** Query of `GET /network/events`. */
export const EventSearchQuery = EventsQuery.pick({ types: true }).extend({
  q: z.string().max(MAX_SEARCH).optional().meta({
    description: "Text that the JSON of an event contains, in upper or lower case.",
    param: { example: "203.0.113.9" },
  }),
  limit: wholeNumber(1, MAX_FOUND_EVENTS).default(100).meta({ param: { example: 10 } }),
});

export const EventsHeaders = z.object({
  "last-event-id": text("The same as since, and takes precedence over it."),
});

/** Query of `GET /ws`. */
export const SocketQuery = EventsQuery.extend({ watch: hexId.optional() });

export const SocketHeaders = z.object({
  "sec-websocket-protocol": text(
    "dmnode. If Authorization can't be set, also bearer. followed by the token in base64url.",
  ),
});
