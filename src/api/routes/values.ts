// Routes that store, fetch, watch, count and publish values.

import type { OpenAPIHono } from "@hono/zod-openapi";
import type { Context, MiddlewareHandler } from "hono";
import { z } from "zod";
import type { NodeService, StoreOptions, StoreOutcome } from "../../node_service.ts";
import { exampleOf, HELLO, SIGNED_HASH } from "../../reports/fields.ts";
import {
  HeldItems,
  Holders,
  Published,
  PublishedDetail,
  Replicas,
  STORED,
  Stored,
  STORED_SEALED,
  STORED_SIGNED,
  STORED_UNDER_KEY,
  StoredValue,
  Transfers,
  ValueEvent,
} from "../../reports/values.ts";
import { newSealKey, seal, sealedSize, sealLink } from "../../web/seal.js";
import { isEventStream, watchResponse } from "../events/stream.ts";
import { Problem } from "../problems.ts";
import { joined } from "../joined.ts";
import type { Requirement } from "../access.ts";
import { jsonBodyLimit } from "../limits.ts";
import {
  announcedLength,
  BodyReader,
  checkKey,
  checkLabel,
  checkTerms,
  decodeSigned,
  decodeStore,
  isJson,
  keyTooLong,
  LABEL_HEADER,
  mergeTerms,
  queryOf,
  RETRY,
  SEAL_KEY_HEADER,
  sealKeyOf,
  SIGNED_BODY_LIMIT,
  type StoreTerms,
  termsOfQuery,
  validate,
} from "../requests.ts";
import {
  FetchHeaders,
  FetchQuery,
  HashParams,
  hashParams,
  HeldQuery,
  PublishedSearchQuery,
  SignedQuery,
  SignedRequest,
  StoreHeaders,
  StoreQuery,
  StoreRequest,
} from "../schemas.ts";
import { openedResponse } from "../opened_response.ts";
import { plural } from "../../web/format.js";
import { largeValueResponse, valueResponse } from "../value_response.ts";
import { BAD_HASH, example, headers, json, problem, text } from "./answers.ts";
import { del, describeGuarded, exactJson, get, post, put, type RouteDeps, serve } from "./route.ts";

/** The memory budget holds this many bodies of the maximum size, so that one upload does not block all others. */
const LARGEST_BODIES = 4;

const TAGS = ["Values"];

/** Example of a signed item: BEP 44's first test vector for mutable items. */
const SIGNED_ITEM = {
  k: "d/+EkFqRk2NnwBNggDEE+SQy/NkEpDURh231zfPn5Ug=",
  sig: "MFrIrrbJwVH6Eg8SDqLPuSNWThFVLQal2FYJHl6FPP8SYNPznkmZaEqpLrc//RNub08+y/2gzlOhYI7NeuIfAQ==",
  seq: 1,
  v: "SGVsbG8gV29ybGQh",
};

export const STALLED = problem(408, "The body stalled, or arrived too slowly.");
export const CAS_MISMATCH = problem(412, "The stored seq is 7, which is not the given cas.", {
  seq: 7,
});
export const TOO_FEW = problem(
  503,
  "2 of the 5 required nodes acknowledged the value. This node knows only 2 nodes, itself included. Copies that were " +
    "made stay until they expire. This node does not keep the value published.",
  { acknowledged: 2, min_replicas: 5, known_nodes: 2, refusals: [], kept_published: false },
  { sent: ["Retry-After"] },
);

export const NO_ROOM = problem(
  507,
  "The network has no room for the value, which needs 256000 bytes on each node: 0 of the 2 nodes asked have this room. " +
    "Nothing was sent.",
  { needed_bytes: 256_000, nodes_asked: 2, nodes_with_room: 0 },
);

export interface ValueRouteOptions extends RouteDeps {
  readonly stallMs: number;
  /** When the node stops, this signal is aborted, so that streams end. */
  readonly stopping: AbortSignal;
}

export function valueRoutes(app: OpenAPIHono, options: ValueRouteOptions): void {
  storeRoutes(app, options);
  publishedRoutes(app, options);
  fetchRoute(app, options);
}

// The handlers read request bodies themselves, because the router's validator would read them without a limit.

function storeRoutes(
  app: OpenAPIHono,
  { service, config, access, metrics, stallMs, stopping }: ValueRouteOptions,
): void {
  const { maxValueSize } = config;
  const jsonLimit = jsonBodyLimit(maxValueSize);
  const bodies = new BodyReader(LARGEST_BODIES * jsonLimit, stallMs);
  stopping.addEventListener("abort", () => bodies.stop());
  const checked = (terms: StoreTerms) => checkTerms(terms, config.minReplicas, config.bucketSize);

  const storing = { tags: TAGS, ...access.sending("store") };
  app.post("/network/store", describeStore(app, storing), async (c) => {
    const query = termsOfQuery(c.req.url, StoreQuery);
    const sealKey = keyForStore(c.req.raw, query);
    const report = isJson(c.req.header("content-type"))
      ? await bodies.read(c.req.raw, jsonLimit, async (body) => {
        const { value: given, terms } = decodeStore(body);
        const { key, options } = checked(mergeTerms(terms, query));
        const value = sealKey === null
          ? given
          : await joined(seal(ReadableStream.from([given]), sealKey));
        if (value.length > maxValueSize) {
          throw tooLarge({ size: value.length, limit: maxValueSize });
        }
        const store = () => service.store(value, key, options);
        return stored(await metrics.measure("store", store, outcomeOf));
      })
      : await storeStream(c.req.raw, query, sealKey);
    const answer: StoredValue = sealKey === null
      ? report
      : { ...report, link: sealLink(report.hash, sealKey) };
    return exactJson(answer, 201, { location: `/data/${report.hash}` });
  });

  /** Stores a body as it arrives, without holding all of it in memory. */
  async function storeStream(
    request: Request,
    terms: StoreTerms,
    sealKey: string | null,
  ): Promise<Stored> {
    const { key, options } = checked(terms);
    const length = announcedLength(request, maxValueSize);
    const totalBytes = length === null || sealKey === null ? length : sealedSize(length);
    if (totalBytes !== null && totalBytes > maxValueSize) {
      throw tooLarge({ size: totalBytes, limit: maxValueSize });
    }
    const label = checkLabel(request.headers.get(LABEL_HEADER));
    const bytes = bodies.stream(request, maxValueSize);
    const body = sealKey === null ? bytes : limited(seal(bytes, sealKey), maxValueSize);
    const store = () => storeBody(service, { body, key }, { ...options, totalBytes, label });
    return stored(await metrics.measure("store", store, outcomeOf));
  }

  app.put("/data/:hash", describeSigned(app, storing), async (c) => {
    const hash = hashOf(c);
    if (!isJson(c.req.header("content-type"))) {
      throw new Problem(415, "A signed item must be sent as application/json.");
    }
    const query = termsOfQuery(c.req.url, SignedQuery);
    const report = await bodies.read(c.req.raw, SIGNED_BODY_LIMIT, async (body) => {
      const { item, terms } = decodeSigned(body);
      const { options } = checked(mergeTerms(terms, query));
      const store = () => service.storeSigned(hash, item, options);
      return stored(await metrics.measure("store_signed", store, outcomeOf));
    });
    return exactJson(report, 200);
  });
}

/**
 * The fields that the descriptions of operations have in common: their requirement and their tags.
 */
type Start = Requirement & { readonly tags: string[] };

function describeStore(app: OpenAPIHono, storing: Start): MiddlewareHandler {
  return describeGuarded(app, {
    ...storing,
    ...post("/network/store", "storeValue", "Store a value"),
    description:
      `Stores a value on the nodes closest to its hash, and keeps it published from then on.

Without a key the value is immutable, and \`hash\` is the hash of its content. With a key it is mutable and signed by
this node. Storing under the same key again replaces the value and raises \`seq\`.

As \`application/json\`, the body is an object whose \`value\` is stored: a string as its bytes, any other value as its
JSON text. A body of another type is stored as it is. It is streamed, and may have up to MAX_VALUE_SIZE bytes. A value
that does not fit into one item of the network (996 bytes) is chunked.

With \`?seal=1\` this node encrypts the value before it stores anything. The answer then has a \`link\`,
\`dm:HASH#KEY\`. Only those who have the link can read the value. The node does not keep the key: without the link, the
value is lost. Clients can also seal values themselves, as the command line and the dashboard do, so that no node ever
knows the key.`,
    request: {
      query: StoreQuery,
      headers: StoreHeaders,
      body: {
        required: true,
        content: {
          "application/json": {
            schema: StoreRequest,
            examples: {
              immutable: { summary: "Text, immutable", value: { value: "Hello World!" } },
              mutable: {
                summary: "An object under a key",
                value: { value: { temperature: 21.5 }, key: "sensor/1" },
              },
              binary: {
                summary: "Bytes, on at least one node",
                value: { value: "AAEC/w==", encoding: "base64", min_replicas: 1 },
              },
            },
          },
          "*/*": {
            schema: { type: "string", description: "Any other type: the value's bytes." },
            examples: { raw: { summary: "Bytes as they are", value: "Hello World!" } },
          },
        },
      },
    },
    responses: {
      201: json("Stored, and kept published from now on", StoredValue, {
        immutable: { summary: "Immutable", value: STORED },
        mutable: { summary: "Under a key", value: STORED_UNDER_KEY },
        sealed: { summary: "Sealed, with ?seal=1", value: STORED_SEALED },
      }, { sent: ["Location"] }),
      ...problem(400, "The key has 65 bytes of UTF-8; at most 64 are allowed.", {
        size: 65,
        limit: 64,
      }),
      ...STALLED,
      ...problem(409, "Another version was stored at the same time; seq is 7.", { seq: 7 }),
      ...CAS_MISMATCH,
      ...problem(413, "The body is over 16777216 bytes.", { limit: 16_777_216 }),
      ...problem(415, "Content-Encoding is not supported; send the body without it."),
      ...TOO_FEW,
      ...NO_ROOM,
    },
  });
}

function describeSigned(app: OpenAPIHono, storing: Start): MiddlewareHandler {
  return describeGuarded(app, {
    ...storing,
    ...put("/data/{hash}", "storeSignedItem", "Store an item that its owner signed (BEP 44)"),
    description:
      `For clients that keep their private key to themselves. The item is signed as in BEP 44, and this node stores
it and keeps it published. \`hash\` is the SHA-1 of \`k\` and \`salt\`. The example is a test vector of BEP 44.`,
    request: {
      params: hashParams(SIGNED_HASH),
      query: SignedQuery,
      body: {
        required: true,
        content: {
          "application/json": {
            schema: SignedRequest,
            examples: { item: { summary: "A test vector of BEP 44", value: SIGNED_ITEM } },
          },
        },
      },
    },
    responses: {
      200: json("Stored, and kept published from now on", Stored, example("Stored", STORED_SIGNED)),
      ...problem(400, "The signature does not fit k, salt, seq and v."),
      ...STALLED,
      ...problem(409, "The network holds seq 7; a newer one is needed.", { seq: 7 }),
      ...CAS_MISMATCH,
      ...problem(
        413,
        "The value has 1004 bytes, including its length prefix in bencode; at most 1000 can be stored.",
        { size: 1004, limit: 1000 },
      ),
      ...problem(415, "A signed item must be sent as application/json."),
      ...TOO_FEW,
      ...NO_ROOM,
    },
  });
}

function fetchRoute(
  app: OpenAPIHono,
  { service, access, metrics, stopping }: ValueRouteOptions,
): void {
  const guard = describeFetch(app, { tags: TAGS, ...access.sending("fetch") });
  app.get("/data/:hash", guard, async (c) => {
    const hash = hashOf(c);
    const query = queryOf(c.req.url, Object.keys(FetchQuery.shape));
    const { replicas } = validate("query", FetchQuery, query);
    const key = checkKey(query.key), sealKey = sealKeyOf(c.req.raw);
    if (replicas) return exactJson(await replicasOf(hash, key), 200);
    if (isEventStream(c.req.raw)) {
      return await watchResponse(service, c.req.raw, { hash, key, stopping });
    }
    const result = await metrics.measure("fetch", () => service.fetch(hash, key), outcomeOf);
    if (sealKey !== null && (result.outcome === "found" || result.outcome === "large")) {
      return await openedResponse({ service, request: c.req.raw, key: sealKey }, result);
    }
    switch (result.outcome) {
      case "found":
        return valueResponse(c.req.raw, result.value);
      case "large":
        return await largeValueResponse(service, c.req.raw, result.value);
      case "invalid":
        throw new Problem(502, result.detail);
      case "not_found":
        throw new Problem(404, result.detail ?? `No value ${hash} was found on the network.`);
      case "key_needed":
        throw keyNeeded(hash);
    }
  });

  async function replicasOf(hash: string, key: string | null): Promise<Replicas> {
    const count = () => service.replicas(hash, key);
    const result = await metrics.measure("replicas", count, outcomeOf);
    switch (result.outcome) {
      case "found":
        return result.report;
      case "not_found":
        throw new Problem(404, `No node that was asked holds value ${hash}.`);
      case "key_needed":
        throw keyNeeded(hash);
      case "busy":
        throw new Problem(503, "Copies of other values are being counted; try again.", RETRY);
    }
  }
}

function describeFetch(app: OpenAPIHono, fetching: Start): MiddlewareHandler {
  const stream = `event: value\nid: 7\ndata: ${JSON.stringify(exampleOf(ValueEvent))}\n\n`;
  const bytes = (summary: string, value: string) => ({
    schema: { type: "string", format: "binary" } as const,
    examples: { value: { summary, value } },
  });
  const OF_VALUES = [
    "Content-Security-Policy",
    "ETag",
    "Accept-Ranges",
    "X-Seq",
    "X-Public-Key",
  ] as const;
  return describeGuarded(app, {
    ...fetching,
    ...get("/data/{hash}", "fetchValue", "Fetch a value, count its copies, or watch it"),
    description:
      `Answers with the value's bytes as they were stored. The bytes determine their type: \`application/json\` if all
of them are one JSON text, \`text/plain\` for other UTF-8, else \`application/octet-stream\`. It is never a type that a
browser would run. An item that is not a byte string, but a number, a list or a dictionary, is sent in bencoded form as
\`application/x-bencode\`.

Immutable and chunked values have an \`ETag\`, and support \`If-None-Match\` and a \`Range\` with one range. A chunked
value is fetched while the client reads. If that fails after the first bytes, the connection breaks before
\`Content-Length\` is reached.

With \`X-Seal-Key\` the node opens a sealed value, and answers with its content. A \`Range\` then applies to the content
of all kinds of values. No byte of a record of 64 KiB that was changed is sent: if the first one does not fit the key,
the status is 403, and later the connection breaks.

With \`?replicas=1\` the answer lists the holders of the value instead. With \`Accept: text/event-stream\` it is a stream
with an event for the current version and for each newer one, whose \`data\` is a ValueEvent. A comment is sent after 15 s
of silence.`,
    request: { params: HashParams, query: FetchQuery, headers: FetchHeaders },
    responses: {
      200: {
        description: "The value's bytes; with ?replicas=1 its holders; with Accept: " +
          "text/event-stream an event for each of its versions",
        headers: headers(...OF_VALUES, "X-Accel-Buffering"),
        content: {
          "application/json": {
            schema: z.union([z.unknown(), Replicas]),
            examples: {
              value: { summary: "A value that is JSON", value: { temperature: 21.5 } },
              replicas: { summary: "Its holders, with ?replicas=1", value: exampleOf(Replicas) },
            },
          },
          "text/plain": bytes("A value that is text", "Hello World!"),
          "application/octet-stream": bytes("Any other value", "\u0000\u0001\u0002"),
          "application/x-bencode": bytes("An item that is not a byte string", "d3:fooi1ee"),
          "text/event-stream": {
            schema: ValueEvent,
            examples: { watch: { summary: "A version", value: stream } },
          },
        },
      },
      206: {
        description: "The range of an immutable or chunked value",
        headers: headers(...OF_VALUES, "Content-Range"),
        content: {
          "text/plain": text("part", "Range: bytes=0-4", "Hello"),
          "application/json": text("part", "Range: bytes=0-0", "{"),
          "application/octet-stream": text("part", "Range: bytes=0-1", "\u0000\u0001"),
          "application/x-bencode": text("part", "Range: bytes=0-0", "d"),
        },
      },
      304: { description: "Unchanged", headers: headers(...OF_VALUES) },
      ...BAD_HASH,
      ...problem(403, "The key does not open this value, or the value was changed."),
      ...problem(404, `No value ${HELLO} was found on the network.`),
      ...problem(416, "The value has 12 bytes.", { size: 12 }, { sent: ["Content-Range"] }),
      ...problem(502, `Item ${HELLO} is not a valid root of a large value.`),
      ...problem(503, "Copies of other values are being counted; try again.", {}, {
        sent: ["Retry-After"],
      }),
    },
  });
}

function publishedRoutes(app: OpenAPIHono, { service, access }: RouteDeps): void {
  const reading = { tags: TAGS, ...access.private("read") };

  serve(app, {
    tags: TAGS,
    ...access.private("admin"),
    ...del("/data/{hash}", "letGo", "Stop publishing a value"),
    description:
      `This node stops publishing the value, and its items that no other published value needs. Existing copies are
not deleted: they expire \`ttl\` seconds after the last publication, or within two hours on other implementations.`,
    request: { params: HashParams },
    responses: {
      204: { description: "This node no longer publishes the value", headers: headers() },
      ...BAD_HASH,
      ...problem(404, `This node does not publish ${HELLO}.`),
    },
  }, async (c) => {
    const { hash } = c.req.valid("param");
    if (await service.forget(hash)) return c.body(null, 204);
    throw new Problem(404, `This node does not publish ${hash}.`);
  });

  serve(app, {
    ...reading,
    ...get("/network/published", "listPublished", "List the values that this node keeps published"),
    description:
      "Values that were stored through this node. It publishes them again every hour, so that they outlive their " +
      "holders. The value that is published next comes first. A chunked value is one entry.",
    request: { query: PublishedSearchQuery },
    responses: {
      200: json("The values", Published, "One value"),
      ...problem(400, "query parameter limit: expected a whole number from 1 to 1000."),
    },
  }, async (c) => {
    const { offset, limit, q, at_risk, hash } = c.req.valid("query");
    if (hash !== undefined) {
      const { wanted: _, holders: _holders, history: _history, ...value } =
        await service.publishedValue(hash) ?? {};
      const published = "hash" in value ? [value] : [];
      return exactJson({ total: published.length, offset: 0, published }, 200);
    }
    return exactJson(
      await service.published(offset, limit, { text: q, isAtRisk: at_risk !== undefined }),
      200,
    );
  });

  serve(app, {
    ...reading,
    ...get(
      "/network/published/{hash}",
      "explainPublished",
      "Describe a published value and its past",
    ),
    description:
      "Adds to an entry of the list the nodes that acknowledged the value last, and how many nodes had a copy after " +
      "each of its latest publications and counts.",
    request: { params: HashParams },
    responses: {
      200: json("The value", PublishedDetail, "A value with its latest publication"),
      ...BAD_HASH,
      ...problem(404, `This node does not publish ${HELLO}.`),
    },
  }, async (c) => {
    const { hash } = c.req.valid("param"), value = await service.publishedValue(hash);
    if (value === undefined) throw new Problem(404, `This node does not publish ${hash}.`);
    return exactJson(value, 200);
  });

  serve(app, {
    ...reading,
    ...get("/network/holders", "listHolders", "List the nodes that hold the published values"),
    description:
      "For each value that this node keeps published, the nodes that acknowledged it last. With this list, a client " +
      "can tell which values would have too few copies if some nodes were gone. It causes no traffic in the network.",
    responses: { 200: json("The holders", Holders, "One value") },
  }, async (c) => c.json(await service.holders(), 200));

  serve(app, {
    ...reading,
    ...get("/network/held", "listHeld", "List the items that this node holds for the network"),
    description:
      "Items that other nodes put here, because the ids of the items are near that of this node. A chunked value " +
      "consists of many items, which are on different nodes. The item nearest to the id of this node comes first, unless there are more than 10,000.",
    request: { query: HeldQuery },
    responses: {
      200: json("The items", HeldItems, "One item"),
      ...problem(400, "query parameter limit: expected a whole number from 1 to 5000."),
    },
  }, async (c) => c.json(await service.held(c.req.valid("query").limit), 200));

  serve(app, {
    ...reading,
    ...get("/network/transfers", "listTransfers", "List the transfers of chunked values"),
    description: "The transfers of chunked values through this node, and their progress.",
    responses: { 200: json("The transfers", Transfers, "A store in progress") },
  }, async (c) => c.json({ transfers: await service.transfers() }, 200));
}

/** The key with which to seal the value of a store request; null if the value should not be sealed. */
function keyForStore(request: Request, { seal }: StoreTerms): string | null {
  const given = sealKeyOf(request);
  if (seal) return given ?? newSealKey();
  if (given === null) return null;
  throw new Problem(400, `${SEAL_KEY_HEADER}: add ?seal=1, so that the value is sealed.`);
}

/** Yields `pieces`. Throws a Problem if they have more bytes than the limit. */
async function* limited(
  pieces: AsyncIterable<Uint8Array>,
  limit: number,
): AsyncGenerator<Uint8Array> {
  let size = 0;
  for await (const piece of pieces) {
    size += piece.length;
    if (size > limit) throw tooLarge({ size, limit });
    yield piece;
  }
}

/** Validates and returns the hash in the path. For routes whose parameters the router does not validate. */
function hashOf(c: Context): string {
  return validate("path", HashParams, c.req.param()).hash;
}

/** Stores a body chunk by chunk. Throws if the body can't be read to its end. */
async function storeBody(
  service: NodeService,
  { body, key }: { readonly body: AsyncIterable<Uint8Array>; readonly key: string | null },
  options: StoreOptions,
): Promise<StoreOutcome> {
  const upload = await service.openUpload(key, options);
  try {
    for await (const bytes of body) if (!await service.write(upload, bytes)) break;
    return await service.finishUpload(upload);
  } finally {
    await service.closeUpload(upload);
  }
}

function outcomeOf<O extends string>({ outcome }: { readonly outcome: O }): O {
  return outcome;
}

/** Returns the report of a successful store. Throws a Problem for any other outcome. */
function stored(result: StoreOutcome): Stored {
  if (result.outcome === "stored") return result.report;
  throw notStored(result);
}

/** The error for a value that was not stored. */
export function notStored(result: Exclude<StoreOutcome, { outcome: "stored" }>): Problem {
  switch (result.outcome) {
    case "too_large":
      return tooLarge(result, ", including its length prefix in bencode");
    case "key_too_long":
      return keyTooLong(result.size, result.limit);
    case "seq_too_old":
      return new Problem(409, `The network holds seq ${result.seq}; a newer one is needed.`, {
        extension: { seq: result.seq },
      });
    case "cas_mismatch":
      return new Problem(412, `The stored seq is ${result.seq}, which is not the given cas.`, {
        extension: { seq: result.seq },
      });
    case "overtaken":
      return new Problem(
        409,
        `Another version was stored at the same time; seq is ${result.seq}.`,
        {
          extension: { seq: result.seq },
        },
      );
    case "seq_exhausted":
      return new Problem(
        409,
        `The value has seq ${result.seq}, the largest one: no version can follow it.`,
        {
          extension: { seq: result.seq },
        },
      );
    case "bad_signature":
      return new Problem(400, "The signature does not fit k, salt, seq and v.");
    case "wrong_target":
      return new Problem(400, `This item belongs at ${result.hash}: the hash of k and salt.`, {
        extension: { hash: result.hash },
      });
    case "too_few":
      return tooFew(result);
    case "no_room":
      return noRoom(result);
    case "unreachable":
      return new Problem(503, result.detail);
    case "busy":
      return new Problem(503, result.detail, RETRY);
  }
}

function tooFew(
  { acknowledged, wanted, known, refusals, isFull, isPublished }: Extract<
    StoreOutcome,
    { outcome: "too_few" }
  >,
): Problem {
  const nodes = wanted === 1 ? "No node" : `${acknowledged} of the ${wanted} required nodes`;
  const reasons = refusals.map(({ code, text, nodes }) => `${nodes} × ${code} ${text}`).join(", ");
  const detail = [
    `${nodes} acknowledged the value${reasons === "" ? "" : `; refusals: ${reasons}`}.`,
    ...(known === undefined
      ? []
      : [`This node knows only ${plural(known, "node")}, itself included.`]),
    ...(acknowledged > 0 ? ["Copies that were made stay until they expire."] : []),
    ...(isPublished === true ? ["Earlier versions stay published."] : []),
    ...(isPublished === false ? ["This node does not keep the value published."] : []),
  ].join(" ");
  const members = {
    acknowledged,
    min_replicas: wanted,
    known_nodes: known,
    refusals,
    kept_published: isPublished,
  };
  return new Problem(isFull ? 507 : 503, detail, { extension: members });
}

function noRoom({ room }: Extract<StoreOutcome, { outcome: "no_room" }>): Problem {
  if (room === null) {
    return new Problem(507, "The network has no room for the whole value, so none of it is kept.");
  }
  const { neededBytes, asked, withRoom } = room, bytes = Math.ceil(neededBytes);
  const detail =
    `The network has no room for the value, which needs ${bytes} bytes on each node: ` +
    `${withRoom} of the ${asked} nodes asked have this room. Nothing was sent.`;
  const members = { needed_bytes: bytes, nodes_asked: asked, nodes_with_room: withRoom };
  return new Problem(507, detail, { extension: members });
}

function keyNeeded(hash: string): Problem {
  const detail = `Value ${hash} can't be verified without the key it was stored under; add ?key=.`;
  return new Problem(404, detail, { extension: { key_needed: true } });
}

function tooLarge(
  { size, limit }: { readonly size: number; readonly limit: number },
  counted = "",
): Problem {
  const detail = `The value has ${size} bytes${counted}; at most ${limit} can be stored.`;
  return new Problem(413, detail, { extension: { size, limit } });
}
