// Routes that pin values. This node keeps a pinned value alive, even if it does not own the value.

import type { OpenAPIHono } from "@hono/zod-openapi";
import type { PinOutcome, PinRequest } from "../../node_service.ts";
import { HELLO, SIGNED_KEY } from "../../reports/fields.ts";
import { PINNED, Pins, PublishedValue } from "../../reports/values.ts";
import { Problem } from "../problems.ts";
import { checkKey, decodePin, jsonBodies, RETRY } from "../requests.ts";
import { HashParams, PinRequest as PinBody, PublishedQuery } from "../schemas.ts";
import { BAD_HASH, example, headers, json, problem } from "./answers.ts";
import { del, describeGuarded, exactJson, get, post, serve } from "./route.ts";
import type { ValueRouteOptions } from "./values.ts";

/** Maximum bytes of the JSON of a pin. */
const PIN_BODY_LIMIT = 4_096;

export function pinRoutes(app: OpenAPIHono, options: ValueRouteOptions): void {
  pinRoute(app, options);
  const { service, access } = options, tags = ["Values"];

  serve(app, {
    tags,
    ...access.private("admin"),
    ...del("/network/pin/{hash}", "unpinValue", "Unpin a value"),
    description:
      `This node stops keeping the value alive, unless it was also stored through this node. Existing copies on
other nodes are not deleted: they expire \`ttl\` seconds after the last publication.`,
    request: { params: HashParams },
    responses: {
      204: { description: "The value is not pinned any more", headers: headers() },
      ...BAD_HASH,
      ...problem(404, `This node does not pin ${HELLO}.`),
    },
  }, async (c) => {
    const { hash } = c.req.valid("param");
    if (await service.unpin(hash)) return c.body(null, 204);
    throw new Problem(404, `This node does not pin ${hash}.`);
  });

  serve(app, {
    tags,
    ...access.private("read"),
    ...get("/network/pins", "listPins", "List the pinned values"),
    description: "The value that is published next comes first. A chunked value is one entry.",
    request: { query: PublishedQuery },
    responses: {
      200: json("The pinned values", Pins, "One value"),
      ...problem(400, "query parameter limit: expected a whole number from 1 to 1000."),
    },
  }, async (c) => {
    const { offset, limit } = c.req.valid("query");
    return exactJson(await service.pins(offset, limit), 200);
  });
}

function pinRoute(
  app: OpenAPIHono,
  { service, access, metrics, stallMs, stopping }: ValueRouteOptions,
): void {
  const body = { name: "A pin", limit: PIN_BODY_LIMIT, decode: decodePin };
  const pinOf = jsonBodies({ stallMs, stopping }, body);

  const guard = describeGuarded(app, {
    tags: ["Values"],
    ...access.sending("admin"),
    ...post("/network/pin", "pinValue", "Pin a value"),
    description:
      `This node fetches the value, keeps it on its own disk and publishes it every hour, even if others own it. The value
is named by its hash or, if it is mutable, by its key and the public key of its owner. The node keeps the newest
version of a mutable value: it finds a new one within about an hour. Pinned values don't count against STORAGE_LIMIT.

Pinning a value again changes only its \`ttl\`.`,
    request: {
      body: {
        required: true,
        content: {
          "application/json": {
            schema: PinBody,
            examples: {
              hash: { summary: "By hash", value: { hash: HELLO } },
              owner: {
                summary: "By its owner; `key` names one of the owner's keys",
                value: { public_key: SIGNED_KEY },
              },
            },
          },
        },
      },
    },
    responses: {
      200: json("It was pinned before", PublishedValue, example("Pinned", PINNED)),
      201: json("Pinned", PublishedValue, example("Pinned", PINNED), { sent: ["Location"] }),
      ...problem(400, "Give a hash, or a key."),
      ...problem(404, `No value ${HELLO} was found on the network.`),
      ...problem(408, "The body stalled, or arrived too slowly."),
      ...problem(413, "The value has 20000000 bytes; at most 16777216 can be pinned.", {
        size: 20_000_000,
        limit: 16_777_216,
      }),
      ...problem(415, "A pin must be sent as application/json."),
      ...problem(502, `Item ${HELLO} is not a valid root of a large value.`),
      ...problem(503, "64 large values are being moved; try again.", {}, { sent: ["Retry-After"] }),
      ...problem(507, "The value can't be written to this node's disk."),
    },
  });

  app.post("/network/pin", guard, async (c) => {
    const request = await pinOf(c.req.raw);
    checkPin(request);
    const pin = () => service.pin(request);
    const result = await metrics.measure("pin", pin, ({ outcome }) => outcome);
    if (result.outcome !== "pinned") throw refused(request, result);
    const { report, isNew } = result;
    return isNew
      ? exactJson(report, 201, { location: `/data/${report.hash}` })
      : exactJson(report, 200);
  });
}

function checkPin({ hash, key, publicKey }: PinRequest): void {
  checkKey(key ?? undefined);
  if (hash === undefined && key === null && publicKey === undefined) {
    throw new Problem(400, "Give a hash, or a key.");
  }
  if (hash !== undefined && publicKey !== undefined) {
    throw new Problem(400, "Give either a hash or a public_key: a hash identifies the owner too.");
  }
}

function refused(
  { hash }: PinRequest,
  result: Exclude<PinOutcome, { outcome: "pinned" }>,
): Problem {
  const name = hash === undefined ? "under this key" : hash;
  switch (result.outcome) {
    case "not_found":
      return new Problem(404, result.detail ?? `No value ${name} was found on the network.`);
    case "key_needed":
      return new Problem(404, `Value ${name} can't be verified without its key; add key.`, {
        extension: { key_needed: true },
      });
    case "invalid":
      return new Problem(502, result.detail);
    case "too_large": {
      const { size, limit } = result;
      const detail = `The value has ${size} bytes; at most ${limit} can be pinned.`;
      return new Problem(413, detail, { extension: { size, limit } });
    }
    case "no_disk":
      return new Problem(507, "The value can't be written to this node's disk.");
    case "busy":
      return new Problem(503, result.detail, RETRY);
    case "unreachable":
      return new Problem(503, result.detail);
  }
}
