// Routes that stream the node's events, as server-sent events and over a WebSocket.

import type { OpenAPIHono } from "@hono/zod-openapi";
import type { Context } from "hono";
import type { z } from "zod";
import { Event, eventExample, FoundEvents } from "../../reports/events.ts";
import type { Caller } from "../access.ts";
import {
  type EventClient,
  eventSocket,
  eventStream,
  type SocketWish,
} from "../events/connections.ts";
import type { Wish } from "../events/broadcast.ts";
import { type EventFeed, typesOf } from "../events/feed.ts";
import { checkKey, queryOf, validate } from "../requests.ts";
import {
  EventSearchQuery,
  EventsHeaders,
  EventsQuery,
  FetchQuery,
  SocketHeaders,
  SocketQuery,
} from "../schemas.ts";
import { headers, json, problem } from "./answers.ts";
import { describeGuarded, get, type RouteDeps, serve } from "./route.ts";

const TAGS = ["Events"];

const UNKNOWN_TYPE = problem(
  400,
  'query parameter types: there is no event "peer"; there are …',
  { types: ["peer.join", "peer.leave"] },
);

const TOO_MANY = problem(503, "Too many clients listen to events; try again.", {}, {
  sent: ["Retry-After"],
});

export function eventRoutes(
  app: OpenAPIHono,
  { service, access }: RouteDeps,
  feed: EventFeed,
): void {
  const value = `id: 1795355891258\ndata: ${JSON.stringify(eventExample("peer.join"))}\n\n`;
  serve(app, {
    tags: TAGS,
    ...access.private("read"),
    ...get("/events", "streamEvents", "Stream the node's events as server-sent events"),
    description:
      `Each server-sent event has an Event as its \`data\`, and the id of that as its \`id\`. The stream ends when the
client leaves or the node stops. A client that returns with \`Last-Event-ID\` first gets the events that it missed, if they
are still kept. A comment is sent after 15 s of silence. A client that reads too slowly is disconnected.`,
    request: { query: EventsQuery, headers: EventsHeaders },
    responses: {
      200: {
        description: "A stream of events without end",
        headers: headers("X-Accel-Buffering"),
        content: {
          "text/event-stream": { schema: Event, examples: { event: { summary: "A peer", value } } },
        },
      },
      ...UNKNOWN_TYPE,
      ...TOO_MANY,
    },
  }, (c) => eventStream(feed, clientOf(c, wishOf(c.req.valid("query")))));

  const searchGuard = describeGuarded(app, {
    tags: TAGS,
    ...access.private("read"),
    ...get("/network/events", "searchEvents", "Search the node's latest events"),
    description: "The node keeps its latest 8,192 events, up to 4 MiB in total.",
    request: { query: EventSearchQuery },
    responses: {
      200: json("The events that match, newest first", FoundEvents, "One event"),
      ...UNKNOWN_TYPE,
    },
  });
  app.get("/network/events", searchGuard, (c) => {
    const given = queryOf(c.req.url, Object.keys(EventSearchQuery.shape));
    const { types, q = "", limit } = validate("query", EventSearchQuery, given);
    const found = feed.search({ types: typesOf(namesOf(types)), text: q, limit });
    const events = found.map(({ text }) => text).join();
    return c.body(`{"events":[${events}]}`, 200, { "content-type": "application/json" });
  });

  const guard = describeGuarded(app, {
    tags: TAGS,
    ...access.sending("read"),
    ...get("/ws", "openSocket", "Stream the node's events over a WebSocket"),
    description:
      `The same events over a WebSocket (RFC 6455). Each message is one Event; the first is \`hello\`. With \`?watch=\`
the versions of a value are sent as events of the type \`watch\`, and other events only if \`types\` names them. That
needs the scope \`fetch\` too.

Pages can't set \`Authorization\` on a WebSocket. They offer the subprotocols \`dmnode\` and \`bearer.\` followed by the
token in base64url. The node closes with 1001 when it stops, with 1002, 1003 or 1009 if the client sends something, and
with 1013 if the client reads too slowly.`,
    request: {
      query: SocketQuery.extend({ key: FetchQuery.shape.key }),
      headers: SocketHeaders,
    },
    responses: {
      101: { description: "The connection is a WebSocket from now on" },
      ...problem(
        400,
        "This path is a WebSocket; send Upgrade: websocket.",
        {},
        { sent: ["Sec-WebSocket-Version"] },
      ),
      ...TOO_MANY,
    },
  });
  app.get("/ws", guard, (c) => {
    const wish = socketWishOf(queryOf(c.req.url, [...Object.keys(SocketQuery.shape), "key"]));
    if (wish.watched !== null) access.checkScope(c, "fetch");
    return eventSocket(feed, service, clientOf(c, wish));
  });
}

function clientOf<W extends Wish>(c: Context, wish: W): EventClient<W> {
  const { takeOver } = c.env as Partial<Caller>;
  if (takeOver === undefined) throw new Error("this is served without connections");
  return { request: c.req.raw, takeOver, wish };
}

/**
 * Parses the query of `/ws`. A client that watches a value receives events of other types only if the query names
 * these types.
 */
function socketWishOf(given: Record<string, string>): SocketWish {
  const query = validate("query", SocketQuery, given);
  const { watch: hash } = query;
  const watched = hash === undefined ? null : { hash, key: checkKey(given.key) };
  const { types, since } = wishOf(query);
  if (watched === null) return { types, since, watched };
  const others = query.types === undefined ? [] : types;
  return { types: new Set([...others, "watch"]), since, watched };
}

function wishOf({ types, since }: z.output<typeof EventsQuery>): Wish {
  return {
    types: typesOf(namesOf(types)),
    since: since ?? null,
  };
}

function namesOf(types: string | undefined): string[] {
  return types?.split(",").map((name) => name.trim()) ?? [];
}
