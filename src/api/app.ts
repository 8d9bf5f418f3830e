// The REST API: routes between HTTP and the NodeService, documented by the schemas that check them.

import { createRoute, OpenAPIHono, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { HTTPException } from "hono/http-exception";
import { methodNotAllowed } from "hono/method-not-allowed";
import type { Config, HostPort } from "../config.ts";
import { Endpoint } from "../krpc/endpoint.ts";
import { SAMPLE_EVERY_MS } from "../runtime/past_hour.ts";
import type { NodeService, Refusal, StoreOutcome, StoreReport } from "../runtime/service.ts";
import { Access, type Caller } from "./access.ts";
import type { Subscribe } from "./front_thread.ts";
import { noRefusals, type Refusals } from "./limits.ts";
import { DOCS_POLICY, docsPage } from "./docs.ts";
import { apiDocument, describePlainRoutes, type Document } from "./openapi.ts";
import { Problem, type ProblemStatus, SAFE_HEADERS } from "./problems.ts";
import {
  BodyReader,
  checkKey,
  checkLabel,
  checkTerms,
  decodeSigned,
  decodeStore,
  invalid,
  isJson,
  jsonBodyLimit,
  keyOfQuery,
  keyTooLong,
  LABEL_HEADER,
  mergeTerms,
  refuseRepeated,
  RETRY,
  SIGNED_BODY_LIMIT,
  type StoreTerms,
  termsOfQuery,
} from "./requests.ts";
import * as schemas from "./schemas.ts";
import { PAGE_FILES, PAGE_POLICY } from "../web/page.ts";
import { EventFeed, type EventOutlet, typesOf, type Wish } from "./event_feed.ts";
import { eventSocket, eventStream, type SocketWish } from "./event_connections.ts";
import { isEventStream, watchResponse } from "./event_stream.ts";
import { ApiMetrics } from "./metrics.ts";
import { largeValueResponse, valueResponse } from "./value_response.ts";
import {
  bucketDistribution,
  hourView,
  lookupView,
  peerDetailView,
  pingView,
  publishedView,
  replicasView,
  selectPeers,
  statsView,
  storeView,
  transferView,
} from "./views.ts";

/** Where unexpected errors go; a logtape logger fits. */
export interface ApiLog {
  error(message: string, properties: Record<string, unknown>): void;
}

/** What the API works on. */
export interface ApiOptions {
  readonly service: NodeService;
  readonly config: Config;
  readonly log?: ApiLog;
  /** How long a client may send nothing of a body. */
  readonly stallMs?: number;
  /** Where refusals are counted; the server counts there as well. */
  readonly refusals?: Refusals;
  /** Who may use it, where that is not all in the configuration. */
  readonly access?: Access;
}

/** Longer than any link that still works pauses, short enough that idle uploads don't pile up. */
const STALL_MS = 30_000;
/** Largest bodies in hand at a time: one big upload leaves room for others, many don't exhaust the memory. */
const LARGEST_BODIES = 4;
/** Of the connections so many may be of those who listen to events, and stay: others have requests. */
const LISTENERS_SHARE = 0.75;

/** The API as a server takes it. */
export interface Api extends OpenAPIHono {
  /** Tells there what happens from now on. */
  attach(events: EventOutlet): void;
  /** Ends all that would go on for as long as the client likes. */
  endStreams(): void;
}

/** Builds the API; it listens nowhere until it is served, and does no I/O but through the service. */
export function createApi(options: ApiOptions): Api {
  const { service, config, log, stallMs = STALL_MS } = options;
  const { maxValueSize } = config;
  const jsonLimit = jsonBodyLimit(maxValueSize);
  const bodies = new BodyReader(LARGEST_BODIES * jsonLimit, stallMs);
  const feed = new EventFeed(service, Math.ceil(LISTENERS_SHARE * config.apiMaxConnections));
  const refusals = options.refusals ?? noRefusals();
  const metrics = new ApiMetrics(service, () => feed.listeners, refusals);
  const stopping = new AbortController();
  const app = new OpenAPIHono({
    defaultHook: (result, c) => {
      if (!result.success) {
        if (result.target === "query") refuseRepeated(c.req.url);
        throw invalid(result.target === "query" ? "query" : "path", result.error);
      }
    },
  });

  app.onError((error, c) => {
    if (error instanceof Problem) return error.toResponse();
    if (error instanceof HTTPException && error.status === 400) {
      return new Problem(400, error.message || "The request is malformed.").toResponse();
    }
    log?.error("{method} {path} failed: {error}", {
      method: c.req.method,
      path: c.req.path,
      error,
    });
    return new Problem(500, "The node failed to handle this request; its log says more.")
      .toResponse();
  });
  app.notFound(() => new Problem(404, "There is nothing at this path.").toResponse());

  app.use(metrics.middleware);
  app.use(async (c, next) => {
    await next();
    const { headers, body } = c.res;
    if (c.req.method === "HEAD" && body !== null && !headers.has("content-length")) {
      // That of a GET (RFC 9110, section 9.3.2): the server would call it 0.
      const { byteLength } = await c.res.clone().arrayBuffer();
      headers.set("content-length", `${byteLength}`);
    }
    for (const [name, value] of Object.entries(SAFE_HEADERS)) {
      if (!headers.has(name)) headers.set(name, value);
    }
  });
  const open = [...Object.keys(PAGE_FILES), "/healthz", "/readyz", "/openapi.json", "/docs"];
  const access = options.access ?? new Access(config, open, refusals);
  app.use(access.check);
  app.use(methodNotAllowed({
    app,
    onMethodNotAllowed: (c, methods) => {
      const allow = methods.join(", ");
      return new Problem(405, `${c.req.method} is not possible here; allowed: ${allow}.`, {}, {
        allow,
      }).toResponse();
    },
  }));

  for (const [path, { type, body, etag }] of Object.entries(PAGE_FILES)) {
    const headers = {
      "content-type": type,
      "content-security-policy": PAGE_POLICY,
      "referrer-policy": "no-referrer",
      "cache-control": "no-cache",
      etag,
    };
    app.get(path, (c) => {
      const isKnown = c.req.header("if-none-match")?.includes(etag);
      return isKnown ? c.body(null, 304, headers) : c.body(body, 200, headers);
    });
  }

  const security: Record<string, string[]>[] = [{ bearer: [] }, {}];
  const guarded = { middleware: access.guard, security };
  const sending = { middleware: access.guardSending, security };
  app.openAPIRegistry.registerComponent("securitySchemes", "bearer", {
    type: "http",
    scheme: "bearer",
    description: "API_TOKEN, where the node has one.",
  });

  app.openapi(
    createRoute({
      method: "get",
      path: "/network/peers",
      summary: "Peers of the routing table",
      request: { query: schemas.PeersQuery },
      responses: { 200: answer("The peers", schemas.PeersResponse), ...problems(400, 401) },
    }),
    (c) => {
      const distribution = bucketDistribution(service.distanceHistogram());
      return c.json({
        node_id: service.nodeId,
        peers: selectPeers(service.peers(), c.req.valid("query")),
        routing_table_size: Object.values(distribution).reduce((sum, n) => sum + n, 0),
        bucket_distribution: distribution,
      }, 200);
    },
  );

  app.openapi(
    createRoute({
      method: "get",
      path: "/network/peers/{node_id}",
      summary: "All that is known of one peer, and why it came, missed or went",
      request: { params: schemas.NodeIdParams },
      responses: { 200: answer("The peer", schemas.PeerResponse), ...problems(400, 401, 404) },
    }),
    (c) => {
      const id = c.req.valid("param").node_id;
      const peer = service.peer(id);
      if (peer === undefined) throw new Problem(404, `Nothing is known of a node ${id}.`);
      return c.json(peerDetailView(peer), 200);
    },
  );

  app.openapi(
    createRoute({
      ...sending,
      method: "get",
      path: "/network/ping/{node_id}",
      summary: "Ping a node",
      request: { params: schemas.NodeIdParams },
      responses: {
        200: answer("It answered", schemas.PingResponse),
        ...problems(400, 401, 404, 504),
      },
    }),
    async (c) => {
      const id = c.req.valid("param").node_id;
      const report = await metrics.measure("ping", () => service.ping(id), outcomeOf);
      switch (report.outcome) {
        case "pong":
          return c.json(pingView(report), 200);
        case "unknown":
          throw new Problem(404, `No node ${id} was found.`);
        case "timeout":
          throw new Problem(504, `Node ${id} at ${report.address} did not answer.`);
      }
    },
  );

  app.openapi(
    createRoute({
      ...sending,
      method: "get",
      path: "/network/ping",
      summary: "Ping whoever is at an address",
      request: { query: schemas.PingQuery },
      responses: {
        200: answer("It answered", schemas.PingResponse),
        ...problems(400, 401, 403, 404, 504),
      },
    }),
    async (c) => {
      const { address } = c.req.valid("query");
      const report = await metrics.measure(
        "ping",
        () => service.pingAddress(address),
        ({ outcome }) => outcome === "pong" || outcome === "timeout" ? outcome : "unknown",
      );
      switch (report.outcome) {
        case "pong":
          return c.json(pingView(report), 200);
        case "no_address":
          throw new Problem(404, noAddress(address));
        case "not_allowed":
          throw new Problem(403, `${report.address} is outside of what --allow-net permits.`);
        case "timeout":
          throw new Problem(504, `Nobody answered at ${report.address}.`);
      }
    },
  );

  app.openapi(
    createRoute({
      ...sending,
      method: "get",
      path: "/network/find/{node_id}",
      summary: "Look up the nodes closest to an id",
      request: { params: schemas.NodeIdParams, query: schemas.FindQuery },
      responses: {
        200: answer("What the lookup found", schemas.FindResponse),
        ...problems(400, 401),
      },
    }),
    async (c) => {
      const id = c.req.valid("param").node_id;
      const report = await metrics.measure(
        "find",
        () => service.find(id),
        ({ found }) => found ? "found" : "not_found",
      );
      return c.json(lookupView(report, c.req.valid("query").trace), 200);
    },
  );

  app.openapi(
    createRoute({
      method: "get",
      path: "/network/stats",
      summary: "What the node has done, holds and is told",
      responses: { 200: answer("Statistics", schemas.StatsResponse), ...problems(401) },
    }),
    (c) => c.json(statsView(service.stats(), service.distanceHistogram(), config), 200),
  );

  app.openapi(
    createRoute({
      method: "get",
      path: "/network/history",
      summary: "The node's figures over the last hour",
      request: { query: schemas.HistoryQuery },
      responses: { 200: answer("The samples", schemas.HistoryResponse), ...problems(400) },
    }),
    (c) => {
      const { after } = c.req.valid("query");
      const samples = service.pastHour(after === undefined ? 0 : Date.parse(after));
      return c.json({ interval_s: SAMPLE_EVERY_MS / 1000, samples: samples.map(hourView) }, 200);
    },
  );

  // The bodies are documented here and read below: the router's own validator would read them without a limit.
  app.openAPIRegistry.registerPath({
    method: "post",
    path: "/network/store",
    summary: "Store a value",
    security,
    request: {
      query: schemas.StoreQuery,
      headers: schemas.StoreHeaders,
      body: {
        required: true,
        content: {
          "application/json": { schema: schemas.StoreRequest },
          "*/*": { schema: { type: "string", description: "Any other type: the value's bytes." } },
        },
      },
    },
    responses: {
      201: answer("Stored, and kept published from now on", schemas.StoreResponse),
      ...problems(400, 401, 408, 409, 412, 413, 415, 503),
    },
  });
  const checked = (terms: StoreTerms) => checkTerms(terms, config.minReplicas, config.bucketSize);
  app.post("/network/store", sending.middleware, async (c) => {
    const query = termsOfQuery(c.req.url);
    const report = isJson(c.req.header("content-type"))
      ? await bodies.read(c.req.raw, jsonLimit, async (body) => {
        const { value, terms } = decodeStore(body);
        const { key, options } = checked(mergeTerms(terms, query));
        if (value.length > maxValueSize) throw tooLarge(value.length, maxValueSize);
        const store = () => service.store(value, key, options);
        return stored(await metrics.measure("store", store, outcomeOf));
      })
      : await storeStream(c.req.raw, query);
    return c.json(storeView(report), 201, { location: `/data/${report.hash}` });
  });

  /** Never holds the whole value. */
  async function storeStream(request: Request, terms: StoreTerms): Promise<StoreReport> {
    const { key, options } = checked(terms);
    const length = request.headers.get("content-length");
    const totalBytes = length === null ? null : Number(length);
    const label = checkLabel(request.headers.get(LABEL_HEADER));
    const body = bodies.stream(request, maxValueSize);
    try {
      const store = () => service.store(body, key, { ...options, totalBytes, label });
      return stored(await metrics.measure("store", store, outcomeOf));
    } finally {
      body.return(undefined);
    }
  }

  app.openAPIRegistry.registerPath({
    method: "put",
    path: "/data/{hash}",
    summary: "Store an item that its owner signed (BEP 44)",
    security,
    request: {
      params: schemas.HashParams,
      query: schemas.SignedQuery,
      body: { required: true, content: { "application/json": { schema: schemas.SignedRequest } } },
    },
    responses: {
      200: answer("Stored, and kept published from now on", schemas.StoreResponse),
      ...problems(400, 401, 408, 409, 412, 413, 415, 503),
    },
  });
  app.put("/data/:hash", sending.middleware, async (c) => {
    const params = schemas.HashParams.safeParse(c.req.param());
    if (!params.success) throw invalid("path", params.error);
    if (!isJson(c.req.header("content-type"))) {
      throw new Problem(415, "A signed item has to be sent as application/json.");
    }
    const { min_replicas } = termsOfQuery(c.req.url);
    const report = await bodies.read(c.req.raw, SIGNED_BODY_LIMIT, async (body) => {
      const { item, terms } = decodeSigned(body);
      const { options } = checked(mergeTerms(terms, { min_replicas }));
      const store = () => service.storeSigned(params.data.hash, item, options);
      return stored(await metrics.measure("store_signed", store, outcomeOf));
    });
    return c.json(storeView(report), 200);
  });

  app.openapi(
    createRoute({
      ...guarded,
      method: "delete",
      path: "/data/{hash}",
      summary: "Publish a value no more; copies at other nodes expire",
      request: { params: schemas.HashParams },
      responses: {
        204: { description: "This node publishes it no more" },
        ...problems(400, 401, 404),
      },
    }),
    (c) => {
      const { hash } = c.req.valid("param");
      if (!service.forget(hash)) throw new Problem(404, `This node does not publish ${hash}.`);
      return c.body(null, 204);
    },
  );

  app.openapi(
    createRoute({
      ...guarded,
      method: "get",
      path: "/network/published",
      summary: "The values that this node keeps published, the next to be published first",
      request: { query: schemas.PublishedQuery },
      responses: {
        200: answer("The values", schemas.PublishedResponse),
        ...problems(400, 401),
      },
    }),
    (c) => {
      const { offset, limit } = c.req.valid("query");
      const { total, values } = service.published(offset, limit);
      return c.json({ total, offset, published: values.map(publishedView) }, 200);
    },
  );

  const value = { schema: { type: "string", format: "binary" } } as const;
  const getData = createRoute({
    ...sending,
    method: "get",
    path: "/data/{hash}",
    summary: "Fetch a value, count its copies, or watch it",
    request: {
      params: schemas.HashParams,
      query: schemas.FetchQuery,
      headers: schemas.FetchHeaders,
    },
    responses: {
      200: {
        description: "The value's bytes; with ?replicas=1 its holders; with Accept: " +
          "text/event-stream an event for each of its versions",
        content: {
          "application/json": { schema: z.union([z.unknown(), schemas.ReplicasResponse]) },
          "text/plain": value,
          "application/octet-stream": value,
          "text/event-stream": { schema: schemas.ValueEvent },
        },
      },
      206: { description: "The range of an immutable or chunked value" },
      304: { description: "Unchanged" },
      ...problems(400, 401, 404, 416, 502, 503),
    },
  });
  app.openAPIRegistry.registerPath(getData);
  app.get("/data/:hash", sending.middleware, async (c) => {
    const params = schemas.HashParams.safeParse(c.req.param());
    if (!params.success) throw invalid("path", params.error);
    const { hash } = params.data;
    const key = checkKey(keyOfQuery(c.req.url));
    const query = schemas.FetchQuery.safeParse({ replicas: c.req.query("replicas") });
    if (!query.success) throw invalid("query", query.error);
    if (query.data.replicas) return c.json(await replicasOf(hash, key), 200);
    if (isEventStream(c.req.raw)) {
      return watchResponse(service, c.req.raw, hash, key, stopping.signal);
    }
    const result = await metrics.measure("fetch", () => service.fetch(hash, key), outcomeOf);
    switch (result.outcome) {
      case "found":
        return valueResponse(c.req.raw, result.value);
      case "large":
        return await largeValueResponse(c.req.raw, result.value);
      case "invalid":
        throw new Problem(502, result.detail);
      case "not_found":
        throw new Problem(404, result.detail ?? `No value ${hash} was found on the network.`);
      case "key_needed":
        throw keyNeeded(hash);
    }
  });

  async function replicasOf(hash: string, key: string | null) {
    const count = () => service.replicas(hash, key);
    const result = await metrics.measure("replicas", count, outcomeOf);
    switch (result.outcome) {
      case "found":
        return replicasView(result.report);
      case "not_found":
        throw new Problem(404, `No node that was asked holds value ${hash}.`);
      case "key_needed":
        throw keyNeeded(hash);
      case "busy":
        throw new Problem(503, "Copies of other values are being counted; try again.", {}, RETRY);
    }
  }

  app.openapi(
    createRoute({
      ...guarded,
      method: "get",
      path: "/network/transfers",
      summary: "The values of many items that are being stored and fetched",
      responses: {
        200: answer("The transfers", schemas.TransfersResponse),
        ...problems(401),
      },
    }),
    (c) => c.json({ transfers: service.transfers().map(transferView) }, 200),
  );

  app.get(
    "/ws",
    sending.middleware,
    (c) => {
      const wish = socketWishOf(c.req.url, c.req.query());
      return eventSocket(feed, service, c.req.raw, subscribeOf(c), wish);
    },
  );

  app.openapi(
    createRoute({
      ...guarded,
      method: "get",
      path: "/events",
      summary: "What happens in the node, as server-sent events",
      request: { query: schemas.EventsQuery, headers: schemas.EventsHeaders },
      responses: {
        200: {
          description: "An event each, without end",
          content: { "text/event-stream": { schema: schemas.Event } },
        },
        ...problems(400, 401, 503),
      },
    }),
    (c) => eventStream(feed, c.req.raw, subscribeOf(c), wishOf(c.req.valid("query"))),
  );

  app.openapi(
    createRoute({
      method: "get",
      path: "/healthz",
      summary: "Whether the process lives",
      responses: { 200: answer("It does", schemas.HealthResponse), ...problems() },
    }),
    (c) => c.json({ status: "ok" as const }, 200),
  );

  app.openapi(
    createRoute({
      method: "get",
      path: "/readyz",
      summary: "Whether the node can store and fetch",
      responses: { 200: answer("It can", schemas.ReadyResponse), ...problems(503) },
    }),
    (c) => {
      const { ready, reason } = service.readiness();
      if (!ready) throw new Problem(503, reason, { ready, reason });
      return c.json({ ready, reason }, 200);
    },
  );

  app.get("/metrics", (c) => metrics.response(c.req.header("accept")));

  describePlainRoutes(app);
  let document: Document | undefined;
  const documentOnce = () => document ??= apiDocument(app);
  app.get("/openapi.json", (c) => c.json(documentOnce()));

  // Its curl lines go to where it was asked for.
  let docs: { readonly origin: string; readonly page: Promise<string> } | undefined;
  app.get("/docs", async (c) => {
    const { origin } = new URL(c.req.url);
    if (docs?.origin !== origin) docs = { origin, page: docsPage(documentOnce(), origin) };
    return c.html(await docs.page, 200, {
      "content-security-policy": DOCS_POLICY,
      "referrer-policy": "no-referrer",
    });
  });

  const endStreams = () => {
    stopping.abort();
    bodies.stop();
    feed.close();
  };
  return Object.assign(app, { attach: (events: EventOutlet) => feed.attach(events), endStreams });
}

/** What takes the request's connection from the HTTP server. */
function subscribeOf(c: Context): Subscribe {
  const { subscribe } = c.env as Partial<Caller>;
  if (subscribe === undefined) throw new Error("this is served without connections");
  return subscribe;
}

/** What the query of a WebSocket asks for. Who watches a value hears of others only where it names them. */
function socketWishOf(url: string, given: Record<string, string>): SocketWish {
  const query = schemas.SocketQuery.safeParse(given);
  if (!query.success) throw invalid("query", query.error);
  const { watch: hash } = query.data;
  const watched = hash === undefined ? null : { hash, key: checkKey(keyOfQuery(url)) };
  const { types, since } = wishOf(query.data);
  if (watched === null) return { types, since, watched };
  const others = query.data.types === undefined ? [] : types;
  return { types: new Set([...others, "watch"]), since, watched };
}

/** Which events the query asks for. */
function wishOf({ types, since }: z.output<typeof schemas.EventsQuery>): Wish {
  return {
    types: typesOf(types?.split(",").map((name) => name.trim()) ?? []),
    since: since ?? null,
  };
}

function outcomeOf<O extends string>({ outcome }: { readonly outcome: O }): O {
  return outcome;
}

/** The report of a store that went well; every other outcome is a problem. */
function stored(result: StoreOutcome): StoreReport {
  switch (result.outcome) {
    case "stored":
      return result.report;
    case "too_large":
      throw tooLarge(
        result.size,
        result.limit,
        ", the length that bencode puts before it included",
      );
    case "key_too_long":
      throw keyTooLong(result.size, result.limit);
    case "seq_too_old":
      throw new Problem(409, `The network holds seq ${result.seq}; a newer one is needed.`, {
        seq: result.seq,
      });
    case "cas_mismatch":
      throw new Problem(412, `The stored seq is ${result.seq}, which is not cas.`, {
        seq: result.seq,
      });
    case "overtaken":
      throw new Problem(409, `Another version was stored at the same time; seq is ${result.seq}.`, {
        seq: result.seq,
      });
    case "bad_signature":
      throw new Problem(400, "The signature does not fit k, salt, seq and v.");
    case "wrong_target":
      throw new Problem(400, `This item belongs at ${result.hash}: the hash of k and salt.`, {
        hash: result.hash,
      });
    case "too_few":
      throw tooFew(result);
    case "unreachable":
      throw new Problem(503, result.detail);
    case "busy":
      throw new Problem(503, result.detail, {}, RETRY);
  }
}

function tooFew(
  { acknowledged, wanted, refusals, isPublished }: Extract<StoreOutcome, { outcome: "too_few" }>,
): Problem {
  const told = refusals.map(({ code, text, nodes }: Refusal) => `${nodes} × ${code} ${text}`);
  const who = wanted === 1 ? "Nobody" : `${acknowledged} of the ${wanted} nodes asked for`;
  const detail = `${who} acknowledged the value` +
    `${told.length === 0 ? "" : `; refusals: ${told.join(", ")}`}. Copies that were made stay ` +
    "until they expire" +
    (isPublished === undefined
      ? "."
      : isPublished
      ? "; what was published before goes on to be."
      : "; this node does not keep the value published.");
  return new Problem(503, detail, {
    acknowledged,
    min_replicas: wanted,
    refusals,
    kept_published: isPublished,
  });
}

/** Why there is nothing to ping at an address: of one that is no name, its family is what is missing. */
function noAddress({ host, port }: HostPort): string {
  const endpoint = Endpoint.parse(host, port);
  return endpoint === undefined
    ? "The name has no address that this node can use."
    : `This node does not use IPv${endpoint.family}; see its P2P_HOST.`;
}

function keyNeeded(hash: string): Problem {
  return new Problem(
    404,
    `Value ${hash} can't be verified without the key it was stored under; add ?key=.`,
    { key_needed: true },
  );
}

function tooLarge(size: number, limit: number, counted = ""): Problem {
  const detail = `The value has ${size} bytes; at most ${limit} can be stored${counted}.`;
  return new Problem(413, detail, { size, limit });
}

function answer<T extends z.ZodType>(description: string, schema: T) {
  return { description, content: { "application/json": { schema } } };
}

const PROBLEM_CONTENT = { "application/problem+json": { schema: schemas.ProblemDocument } };

const WHEN: Partial<Record<ProblemStatus, string>> = {
  400: "Malformed: path, query, body or signature",
  401: "The token is missing or wrong, where one is asked for",
  403: "Sent by a foreign web page, or for another host",
  404: "Not found on the network",
  408: "The body stalled",
  409: "A newer seq is on the network",
  412: "cas is not the stored seq",
  413: "Over the limit",
  415: "Wrong content type or encoding",
  416: "The range is outside the value",
  429: "Too many requests from this address; Retry-After tells when to come again",
  502: "What the network holds is no valid value",
  503: "Not now: too few nodes acknowledged, not ready, or too much at a time",
  504: "It did not answer",
};

/** What any request can be answered with. */
const ALWAYS = [403, 429] as const;

/** The documentation of the problems that a route can answer with. */
function problems<S extends ProblemStatus>(...statuses: S[]) {
  return Object.fromEntries(
    [...statuses, ...ALWAYS].map((
      status,
    ) => [status, { description: WHEN[status]!, content: PROBLEM_CONTENT }]),
  ) as Record<
    S | typeof ALWAYS[number],
    { description: string; content: typeof PROBLEM_CONTENT }
  >;
}
