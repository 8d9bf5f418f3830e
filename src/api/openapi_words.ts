// What the OpenAPI document says beyond the schemas: descriptions, headers and examples of each operation.

import {
  EVENT_STREAM,
  HELLO,
  HISTORY,
  LOOKUP,
  METRICS,
  NODE_ID,
  OPEN_METRICS,
  PEER_DETAIL,
  PEERS,
  PONG,
  PUBLISHED,
  REPLICAS,
  SIGNED_HASH,
  SIGNED_ITEM,
  STATS,
  STORED,
  STORED_SIGNED,
  STORED_UNDER_KEY,
  TRACED_LOOKUP,
  TRANSFERS,
  WATCH_STREAM,
} from "./openapi_examples.ts";

import type { EventType } from "./schemas.ts";

/** Examples of one media type, under their names. */
export type Examples = Readonly<
  Record<string, { readonly summary: string; readonly value: unknown }>
>;

/** A response beyond its schema. */
export interface Headed {
  readonly description?: string;
  /** Names of {@link HEADERS} that it may have, beside those that all have. */
  readonly headers?: readonly string[];
  /** By media type. */
  readonly examples?: Readonly<Record<string, Examples>>;
  /** The example of a problem: its detail, and the members that this one has beside those of all. */
  readonly problem?: { readonly detail: string; readonly [member: string]: unknown };
}

/** An operation beyond its schemas. */
export interface Words {
  /** Names the operation in generated clients. */
  readonly id: string;
  readonly tag: string;
  /** Whether it never asks for a token. */
  readonly isOpen?: true;
  /** CommonMark. */
  readonly description: string;
  /** Example values; without one a parameter is left out of examples. */
  readonly parameters?: Readonly<Record<string, string | number>>;
  /** Examples of the body by media type. */
  readonly bodies?: Readonly<Record<string, Examples>>;
  /** By status. */
  readonly responses: Readonly<Record<number, Headed>>;
}

/** CommonMark. */
export const INTRODUCTION =
  `One node of a distributed hash table that speaks BitTorrent's Mainline KRPC. Through this API it stores and
fetches values, looks up nodes, and tells how it is.

- Bodies are JSON in UTF-8 with snake_case names, unless said otherwise. Times are RFC 3339 in UTC. Ids and hashes are
  40 hex digits: lower-case in answers, of either case in requests.
- Every error is a problem document (RFC 9457). A path that is not here is 404, a method that a path does not have is
  405 with \`Allow\`. Any request may be answered with 500, which is a defect of the node, and with 503 while it stops.
- Every \`GET\` may be asked as \`HEAD\`.
- Where the node has an \`API_TOKEN\`, what changes or sends something takes it as a bearer token; where others than
  this machine reach the API, all does but health and documentation, unless \`API_OPEN_READS\` is set.
- Web pages of other origins are refused; there is no CORS.`;

/** In the order of the page. */
export const TAGS = [
  { name: "Values", description: "Store, fetch, watch and let go." },
  { name: "Network", description: "Peers, lookups and pings." },
  { name: "Events", description: "What happens in the node, as it happens." },
  { name: "Node", description: "How it is, for people, for balancers and for monitoring." },
  { name: "Documentation", description: "This document, and pages for browsers." },
] as const;

interface HeaderWords {
  readonly description: string;
  readonly schema: Readonly<Record<string, unknown>>;
  /** Whether each response that names it has it; it does unless told. */
  readonly required?: boolean;
  readonly example: string | number;
}

/** All headers of responses, but those that HTTP itself sees to. */
export const HEADERS: Readonly<Record<string, HeaderWords>> = {
  "X-Content-Type-Options": {
    description: "Browsers are not to guess types.",
    schema: { type: "string", const: "nosniff" },
    example: "nosniff",
  },
  "Cross-Origin-Resource-Policy": {
    description: "Pages of other origins can't load it.",
    schema: { type: "string", const: "same-origin" },
    example: "same-origin",
  },
  "Cache-Control": {
    description: "Only immutable values and files of pages may be kept.",
    schema: { type: "string" },
    example: "no-store",
  },
  "Content-Security-Policy": {
    description:
      "Of values and pages: what a browser may do with them, next to nothing with a value.",
    schema: { type: "string" },
    required: false,
    example: "default-src 'none'; frame-ancestors 'none'; sandbox",
  },
  "Sec-WebSocket-Version": {
    description: "Comes where the handshake is wrong: the version that is spoken.",
    schema: { type: "string", const: "13" },
    required: false,
    example: "13",
  },
  "Referrer-Policy": {
    description: "Pages tell others nothing of where they are.",
    schema: { type: "string", const: "no-referrer" },
    example: "no-referrer",
  },
  Location: {
    description: "Where the value is fetched.",
    schema: { type: "string", pattern: "^/data/[0-9a-f]{40}$" },
    example: `/data/${HELLO}`,
  },
  ETag: {
    description:
      "Names the bytes: of immutable and chunked values their hash. A page's is weak where it is compressed.",
    schema: { type: "string", pattern: '^(W/)?"[^"]+"$' },
    required: false,
    example: `"${HELLO}"`,
  },
  "Accept-Ranges": {
    description: "Comes with an ETag: parts can be asked for with `Range`.",
    schema: { type: "string", const: "bytes" },
    required: false,
    example: "bytes",
  },
  "Content-Range": {
    description: "Which bytes these are, of how many (RFC 9110, section 14.4).",
    schema: { type: "string", pattern: "^bytes (\\d+-\\d+|\\*)/\\d+$" },
    example: "bytes 0-4/12",
  },
  "X-Seq": {
    description: "The version of a mutable value.",
    schema: { type: "integer", minimum: 0 },
    required: false,
    example: 7,
  },
  "X-Public-Key": {
    description: "The Ed25519 key that signed a mutable value, hex.",
    schema: { type: "string", pattern: "^[0-9a-f]{64}$" },
    required: false,
    example: "77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548",
  },
  "X-Accel-Buffering": {
    description: "Of streams: proxies are not to gather events up.",
    schema: { type: "string", const: "no" },
    required: false,
    example: "no",
  },
  "Retry-After": {
    description: "Seconds after which it is worth trying again.",
    schema: { type: "integer", minimum: 0 },
    required: false,
    example: 1,
  },
  "WWW-Authenticate": {
    description: "Which token is asked for, and what is wrong with the one that came (RFC 6750).",
    schema: { type: "string", pattern: '^Bearer realm="dmnode"' },
    example: 'Bearer realm="dmnode"',
  },
};

/** Problems of several operations. */
const NO_TOKEN: Headed = {
  headers: ["WWW-Authenticate"],
  problem: { detail: "This request needs a token: send Authorization: Bearer with API_TOKEN." },
};
const BAD_ID: Headed = {
  problem: { detail: "path parameter node_id: expected 40 hex digits." },
};
const BAD_HASH: Headed = {
  problem: { detail: "path parameter hash: expected 40 hex digits." },
};
const STALLED: Headed = { problem: { detail: "The body stalled, or came too slowly." } };
const TOO_FEW: Headed = {
  headers: ["Retry-After"],
  problem: {
    detail:
      "2 of the 5 nodes asked for acknowledged the value. Copies that were made stay until they " +
      "expire; this node does not keep the value published.",
    acknowledged: 2,
    min_replicas: 5,
    refusals: [],
    kept_published: false,
  },
};

/** One example as JSON. */
function json(value: unknown, summary: string): Headed["examples"] {
  return { "application/json": { example: { summary, value } } };
}

/** By operation. */
export const OPERATIONS: Readonly<Record<string, Words>> = {
  "post /network/store": {
    id: "storeValue",
    tag: "Values",
    description:
      `Stores a value on the nodes closest to its hash and keeps it published from then on.

Without a key the value is immutable, and \`hash\` is the hash of its content. With a key it is mutable and signed by
this node; storing under the key again replaces it and raises \`seq\`.

As \`application/json\` the body is an object whose \`value\` is stored: a string as its bytes, anything else as its JSON
text. A body of any other type is stored as it is, and streamed: it may have MAX_VALUE_SIZE bytes. What does not fit into
one item of the network (996 bytes) is chunked.`,
    bodies: {
      "application/json": {
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
      "*/*": { raw: { summary: "Bytes as they are", value: "Hello World!" } },
    },
    responses: {
      201: {
        headers: ["Location"],
        examples: {
          "application/json": {
            immutable: { summary: "Immutable", value: STORED },
            mutable: { summary: "Under a key", value: STORED_UNDER_KEY },
          },
        },
      },
      400: {
        problem: {
          detail: "The key has 65 bytes of UTF-8; at most 64 are allowed.",
          size: 65,
          limit: 64,
        },
      },
      408: STALLED,
      409: {
        problem: { detail: "Another version was stored at the same time; seq is 7.", seq: 7 },
      },
      412: { problem: { detail: "The stored seq is 7, which is not cas.", seq: 7 } },
      413: { problem: { detail: "The body is over 16777216 bytes.", limit: 16_777_216 } },
      415: {
        problem: { detail: "A Content-Encoding is not supported; send the body as it is." },
      },
      503: TOO_FEW,
    },
  },
  "put /data/{hash}": {
    id: "storeSignedItem",
    tag: "Values",
    description:
      `For clients that keep their key to themselves: the item arrives signed as BEP 44 prescribes, and this node
puts it and keeps it published. \`hash\` is the SHA-1 of \`k\` and \`salt\`. The example is BEP 44's own test vector.`,
    parameters: { hash: SIGNED_HASH },
    bodies: {
      "application/json": { item: { summary: "BEP 44's test vector", value: SIGNED_ITEM } },
    },
    responses: {
      200: { examples: json(STORED_SIGNED, "Stored") },
      400: { problem: { detail: "The signature does not fit k, salt, seq and v." } },
      408: STALLED,
      409: { problem: { detail: "The network holds seq 7; a newer one is needed.", seq: 7 } },
      412: { problem: { detail: "The stored seq is 7, which is not cas.", seq: 7 } },
      413: {
        problem: {
          detail:
            "The value has 1004 bytes; at most 1000 can be stored, the length that bencode puts before it included.",
          size: 1004,
          limit: 1000,
        },
      },
      415: { problem: { detail: "A signed item has to be sent as application/json." } },
      503: TOO_FEW,
    },
  },
  "get /data/{hash}": {
    id: "fetchValue",
    tag: "Values",
    description:
      `Answers with the value's bytes as they were stored. Their type follows from them: \`application/json\` where the
whole is one JSON text, \`text/plain\` for other UTF-8, else \`application/octet-stream\`; never anything that a browser
would run.

Immutable and chunked values have an \`ETag\`, and answer \`If-None-Match\` and \`Range\` with one range. A chunked
value is fetched while the client reads; where that fails after the first bytes the connection breaks, short of
\`Content-Length\`.

With \`?replicas=1\` the answer is who holds the value instead. With \`Accept: text/event-stream\` it is a stream with an
event for the version that there is and for each newer one, whose \`data\` is a ValueEvent; a comment after 15 s of
silence.`,
    parameters: { hash: HELLO },
    responses: {
      200: {
        headers: [
          "Content-Security-Policy",
          "ETag",
          "Accept-Ranges",
          "X-Seq",
          "X-Public-Key",
          "X-Accel-Buffering",
        ],
        examples: {
          "application/json": {
            value: { summary: "A value that is JSON", value: { temperature: 21.5 } },
            replicas: { summary: "Its holders, with ?replicas=1", value: REPLICAS },
          },
          "text/plain": { value: { summary: "A value that is text", value: "Hello World!" } },
          "application/octet-stream": {
            value: { summary: "Any other value", value: "\u0000\u0001\u0002" },
          },
          "text/event-stream": { watch: { summary: "A version", value: WATCH_STREAM } },
        },
      },
      206: {
        headers: [
          "Content-Security-Policy",
          "ETag",
          "Accept-Ranges",
          "Content-Range",
          "X-Seq",
          "X-Public-Key",
        ],
        examples: {
          "text/plain": { part: { summary: "Range: bytes=0-4", value: "Hello" } },
          "application/json": { part: { summary: "Range: bytes=0-0", value: "{" } },
          "application/octet-stream": {
            part: { summary: "Range: bytes=0-1", value: "\u0000\u0001" },
          },
        },
      },
      304: {
        headers: ["Content-Security-Policy", "ETag", "Accept-Ranges", "X-Seq", "X-Public-Key"],
      },
      400: BAD_HASH,
      404: { problem: { detail: `No value ${HELLO} was found on the network.` } },
      416: {
        headers: ["Content-Range"],
        problem: { detail: "The value has 12 bytes.", size: 12 },
      },
      502: { problem: { detail: `Item ${HELLO} is no valid root of a large value.` } },
      503: {
        headers: ["Retry-After"],
        problem: { detail: "Copies of other values are being counted; try again." },
      },
    },
  },
  "delete /data/{hash}": {
    id: "letGo",
    tag: "Values",
    description:
      `This node publishes the value no more, nor those parts of it that no other published value needs. Nothing is
called back: copies expire within a day, at other implementations within two hours.`,
    parameters: { hash: HELLO },
    responses: {
      204: {},
      400: BAD_HASH,
      404: { problem: { detail: `This node does not publish ${HELLO}.` } },
    },
  },
  "get /network/published": {
    id: "listPublished",
    tag: "Values",
    description:
      "The values that were stored through this node, and that it publishes again every hour so that they outlive " +
      "their holders. The next to be published comes first. A chunked value is one entry.",
    parameters: { limit: 10, offset: 0 },
    responses: {
      200: { examples: json(PUBLISHED, "One value") },
      400: {
        problem: { detail: "query parameter limit: expected a whole number from 1 to 1000." },
      },
    },
  },
  "get /network/transfers": {
    id: "listTransfers",
    tag: "Values",
    description:
      "The chunked values that are being stored and fetched through this node, and how far they have come.",
    responses: {
      200: { examples: json(TRANSFERS, "A store under way") },
    },
  },
  "get /network/peers": {
    id: "listPeers",
    tag: "Network",
    description:
      "The peers of the routing table. `bucket_distribution` counts the whole table by the bit length of the XOR of " +
      "both ids, and sums to `routing_table_size`, whatever is filtered.",
    parameters: { health: "healthy", sort: "score", limit: 50 },
    responses: {
      200: { examples: json(PEERS, "One of 156 peers") },
      400: {
        problem: { detail: "query parameter limit: expected a whole number from 1 to 10000." },
      },
    },
  },
  "get /network/peers/{node_id}": {
    id: "explainPeer",
    tag: "Network",
    description:
      "What the list tells of one peer, and why it stands as it does: the parts of its score, and its latest changes. " +
      'One that has left is still explained, with `"health": "gone"`, as long as it is among the latest 1,000.',
    parameters: { node_id: NODE_ID },
    responses: {
      200: { examples: json(PEER_DETAIL, "A peer that missed its latest check") },
      400: BAD_ID,
      404: { problem: { detail: `Nothing is known of a node ${NODE_ID}.` } },
    },
  },
  "get /network/ping/{node_id}": {
    id: "pingNode",
    tag: "Network",
    description:
      "Asks a node for a sign of life. It is taken from the routing table, or found by a lookup.",
    parameters: { node_id: NODE_ID },
    responses: {
      200: { examples: json(PONG, "It answered") },
      400: BAD_ID,
      404: { problem: { detail: `No node ${NODE_ID} was found.` } },
      504: { problem: { detail: `Node ${NODE_ID} at 192.0.2.10:8000 did not answer.` } },
    },
  },
  "get /network/ping": {
    id: "pingAddress",
    tag: "Network",
    description:
      "Asks whoever is at an address for a sign of life. A name stands for the first of its addresses that " +
      "`--allow-net` permits.",
    parameters: { address: "192.0.2.10:8000" },
    responses: {
      200: { examples: json(PONG, "It answered") },
      400: { problem: { detail: "query parameter address: it has no port; expected host:port." } },
      403: { problem: { detail: "192.0.2.10:8000 is outside of what --allow-net permits." } },
      404: { problem: { detail: "The name has no address that this node can use." } },
      504: { problem: { detail: "Nobody answered at 192.0.2.10:8000." } },
    },
  },
  "get /network/find/{node_id}": {
    id: "findNode",
    tag: "Network",
    description:
      "Looks up the nodes closest to an id: `nodes` are the K_BUCKET_SIZE closest that answered, nearest first. With " +
      "`?trace=1` every query of the lookup comes along.",
    parameters: { node_id: NODE_ID, trace: "1" },
    responses: {
      200: {
        examples: {
          "application/json": {
            traced: { summary: "With ?trace=1", value: TRACED_LOOKUP },
            bare: { summary: "Without it", value: LOOKUP },
          },
        },
      },
      400: BAD_ID,
    },
  },
  "get /events": {
    id: "streamEvents",
    tag: "Events",
    description:
      `Server-sent events: the \`data\` of each is one Event, its \`id\` that of the event. The stream goes on until the
client leaves or the node stops. A client that comes back with \`Last-Event-ID\` first gets what it has missed, as far as
that is kept. A comment comes after 15 s of silence; who reads too slowly is cut off.`,
    parameters: { types: "peer.*,data.*" },
    responses: {
      200: {
        headers: ["X-Accel-Buffering"],
        examples: { "text/event-stream": { event: { summary: "A peer", value: EVENT_STREAM } } },
      },
      400: {
        problem: {
          detail: 'query parameter types: there is no event "peer"; there are …',
          types: ["peer.join", "peer.leave"],
        },
      },
      503: {
        headers: ["Retry-After"],
        problem: { detail: "Too many clients listen to events; try again." },
      },
    },
  },
  "get /ws": {
    id: "openSocket",
    tag: "Events",
    description:
      `The same events over a WebSocket (RFC 6455): each message is one Event, the first \`hello\`. With \`?watch=\` the
versions of a value come as events of the type \`watch\`, and others only where \`types\` names them.

Pages can't set \`Authorization\` here: they offer the subprotocols \`dmnode\` and \`bearer.\` followed by the token in
base64url. The node closes with 1001 when it stops, 1002, 1003 or 1009 where a client says something, and 1013 where it
reads too slowly.`,
    parameters: { types: "peer.*,data.*" },
    responses: {
      101: { description: "The connection speaks WebSocket from now on" },
      400: {
        headers: ["Sec-WebSocket-Version"],
        problem: { detail: "This path speaks WebSocket alone; send Upgrade: websocket." },
      },
      503: {
        headers: ["Retry-After"],
        problem: { detail: "Too many clients listen to events; try again." },
      },
    },
  },
  "get /network/stats": {
    id: "readStatistics",
    tag: "Node",
    description:
      "Who the node is, what it has done and holds, how others see it, and the configuration in force, of which the " +
      "token is left out.",
    responses: { 200: { examples: json(STATS, "A node of a network of some 10,000") } },
  },
  "get /network/history": {
    id: "readHistory",
    tag: "Node",
    description:
      "The node's figures over the last hour, or since it was started, as the dashboard draws them. For longer times let " +
      "Prometheus read /metrics.",
    parameters: { after: "2026-04-14T10:00:00Z" },
    responses: {
      200: { examples: json(HISTORY, "One sample") },
      400: {
        problem: { detail: "query parameter after: expected a time such as 2026-04-14T10:29:55Z." },
      },
    },
  },
  "get /healthz": {
    id: "checkHealth",
    tag: "Node",
    isOpen: true,
    description: "Answers while the process lives.",
    responses: { 200: { examples: json({ status: "ok" }, "It lives") } },
  },
  "get /readyz": {
    id: "checkReadiness",
    tag: "Node",
    isOpen: true,
    description:
      "Answers with 200 while the node can really store and fetch through others, else with 503; `reason` says why. The " +
      "first node of a network is ready alone.",
    responses: {
      200: { examples: json({ ready: true, reason: "156 peers answer" }, "It can") },
      503: {
        description: "Not now; reason says why",
        problem: {
          detail: "still joining the network",
          ready: false,
          reason: "still joining the network",
        },
      },
    },
  },
  "get /metrics": {
    id: "readMetrics",
    tag: "Node",
    description:
      "All that the node counts and measures, in Prometheus' text format, or in OpenMetrics where `Accept` names that. " +
      "Names, units and meanings are in the answer itself.",
    responses: {
      200: {
        examples: {
          "text/plain": { metrics: { summary: "One of its metrics", value: METRICS } },
          "application/openmetrics-text": {
            metrics: { summary: "One of its metrics", value: OPEN_METRICS },
          },
        },
      },
    },
  },
  "get /openapi.json": {
    id: "readDocument",
    tag: "Documentation",
    isOpen: true,
    description: "This document, made of the schemas by which requests are checked.",
    responses: {
      200: {
        examples: json(
          { openapi: "3.1.0", info: { title: "DataMgmt Node", version: "0.1.0" }, paths: {} },
          "Its beginning",
        ),
      },
    },
  },
  "get /docs": {
    id: "readReference",
    tag: "Documentation",
    isOpen: true,
    description:
      "This document as a page, with nothing from other hosts; its one script restores the theme that was chosen.",
    responses: {
      200: {
        headers: ["Content-Security-Policy", "Referrer-Policy"],
        examples: {
          "text/html": { page: { summary: "Its beginning", value: "<!doctype html>" } },
        },
      },
    },
  },
  "get /": {
    id: "openDashboard",
    tag: "Documentation",
    isOpen: true,
    description: "The dashboard, a page for browsers.",
    responses: {
      200: {
        headers: ["Content-Security-Policy", "ETag", "Referrer-Policy"],
        examples: {
          "text/html": { page: { summary: "Its beginning", value: "<!doctype html>" } },
        },
      },
      304: {
        description: "Unchanged",
        headers: ["Content-Security-Policy", "ETag", "Referrer-Policy"],
      },
    },
  },
};

/** What happened, by the type of the event. */
export const EVENT_WORDS: Readonly<Record<EventType, string>> = {
  "hello": "Comes first on each connection.",
  "peer.join": "A peer entered the routing table.",
  "peer.leave": "A peer left the routing table.",
  "peer.health": "A peer answers again, or does not any more.",
  "data.store": "An item was stored here for another node.",
  "data.publish": "A value was stored on the network from here.",
  "data.fetch": "A value was fetched from here; of a chunked one its root.",
  "data.replicate": "An item that is held here was given to nodes that lacked it.",
  "data.expire": "An item that was held here is gone.",
  "data.progress": "How far a chunked value has come: at most four times a second, and at its end.",
  "lookup": "A lookup ended.",
  "lookup.step": "A query of a running lookup; for those alone who name this type.",
  "id": "The node took an id that fits its address (BEP 42).",
  "bootstrap": "How joining the network went.",
  "nat": "What is known of NAT and firewall changed.",
  "ready": "The node can store and fetch from now on, or can't.",
  "stats": "Every second: the statistics without the configuration.",
  "watch": "Of the watched value there is this version.",
};

/** Problems that any operation may answer with, where it says nothing of its own: under these names, by status. */
export const COMMON: Readonly<Record<number, Headed & { readonly name: string }>> = {
  401: {
    name: "Unauthorized",
    description: "The token is missing or wrong",
    ...NO_TOKEN,
  },
  403: {
    name: "Forbidden",
    description: "Sent by a foreign web page, or for another host",
    problem: { detail: "Web pages of other origins may not use this API." },
  },
  429: {
    name: "TooManyRequests",
    description: "Too many requests from this address",
    headers: ["Retry-After"],
    problem: { detail: "Too many requests from your address; try again in 2 s." },
  },
  500: {
    name: "InternalServerError",
    description: "A defect of the node, whose log says more",
    problem: { detail: "The node failed to handle this request; its log says more." },
  },
  503: {
    name: "Stopping",
    description: "The node is stopping",
    problem: { detail: "The node is stopping." },
  },
};

/** The statuses of {@link COMMON} that every operation has; 401 has each that is not open. */
export const ALWAYS: readonly number[] = [403, 429, 500, 503];
