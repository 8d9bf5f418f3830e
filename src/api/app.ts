// Builds the REST API: the shared middleware, and the routes of routes/.

import { OpenAPIHono } from "@hono/zod-openapi";
import { HTTPException } from "hono/http-exception";
import { methodNotAllowed } from "hono/method-not-allowed";
import type { MiddlewareHandler } from "hono";
import type { Config } from "../config.ts";
import type { NodeService } from "../node_service.ts";
import { refuses } from "./accept.ts";
import { Access } from "./access.ts";
import type { ApiLog } from "./errors.ts";
import { EventFeed } from "./events/feed.ts";
import { noRefusals, type Refusals } from "./limits.ts";
import { ApiMetrics } from "./metrics.ts";
import { Problem, SAFE_HEADERS } from "./problems.ts";
import { invalid, refuseRepeated } from "./requests.ts";
import { actionRoutes } from "./routes/actions.ts";
import { registerAnswers } from "./routes/answers.ts";
import { eventRoutes } from "./routes/events.ts";
import { magnetRoutes } from "./routes/magnets.ts";
import { networkRoutes } from "./routes/network.ts";
import { nodeRoutes } from "./routes/node.ts";
import { OPEN_PATHS, pageRoutes } from "./routes/pages.ts";
import { pinRoutes } from "./routes/pins.ts";
import { sampleRoutes } from "./routes/samples.ts";
import { swarmRoutes } from "./routes/swarms.ts";
import { valueRoutes } from "./routes/values.ts";

export interface ApiOptions {
  readonly service: NodeService;
  readonly config: Config;
  readonly log?: ApiLog;
  /** Maximum time in milliseconds by which a request body may lag behind the minimum rate, for example by a pause. */
  readonly stallMs?: number;
  readonly refusals?: Refusals;
  /** The access checks to use; by default, checks with the settings in `config`. */
  readonly access?: Access;
}

/** Default for `stallMs`: longer than any pause of a working upload, but short enough to end idle uploads. */
const STALL_MS = 30_000;
/**
 * The share of the connections that event listeners may use. The rest is reserved for other
 * requests.
 */
const LISTENERS_SHARE = 0.75;

/** A Hono app whose open streams can be ended, and whose access checks can be changed. */
export interface Api extends OpenAPIHono {
  /** Applies these settings to all later requests. */
  reconfigure(config: Config): void;
  endStreams(): void;
}

/** Builds the API, which accesses the node only through `options.service`. */
export function createApi(options: ApiOptions): Api {
  const { service, config, log, stallMs = STALL_MS, refusals = noRefusals() } = options;
  const feed = new EventFeed(service, Math.ceil(LISTENERS_SHARE * config.apiMaxConnections));
  const metrics = new ApiMetrics(service, () => feed.listeners, refusals);
  const access = options.access ?? new Access(config, OPEN_PATHS, refusals);
  const stopping = new AbortController();
  const app = new OpenAPIHono({
    defaultHook: (result, c) => {
      if (result.success) return;
      if (result.target === "query") refuseRepeated(c.req.url);
      throw invalid(result.target === "query" ? "query" : "path", result.error);
    },
  });
  answerErrors(app, log);
  app.use(metrics.middleware);
  app.use(safeHeaders);
  app.use(logged(access, log));
  app.use(access.check);
  app.use(methodNotAllowed({
    app,
    onMethodNotAllowed: ({ req }, methods) => {
      const allow = methods.join(", ");
      const detail = `${req.method} is not allowed on this path; allowed: ${allow}.`;
      return new Problem(405, detail, { headers: { allow } }).toResponse();
    },
  }));
  app.use(negotiated);

  const deps = { service, config, access, metrics };
  registerAnswers(app);
  valueRoutes(app, { ...deps, stallMs, stopping: stopping.signal });
  pinRoutes(app, { ...deps, stallMs, stopping: stopping.signal });
  magnetRoutes(app, { ...deps, stallMs, stopping: stopping.signal });
  swarmRoutes(app, { ...deps, stallMs, stopping: stopping.signal });
  sampleRoutes(app, deps);
  networkRoutes(app, deps);
  eventRoutes(app, deps, feed);
  actionRoutes(app, deps, feed);
  nodeRoutes(app, { ...deps, refusals });
  pageRoutes(app);

  const endStreams = () => {
    stopping.abort();
    feed.close();
  };
  return Object.assign(app, { endStreams, reconfigure: access.reconfigure.bind(access) });
}

function answerErrors(app: OpenAPIHono, log: ApiLog | undefined): void {
  app.onError((error, c) => {
    if (error instanceof Problem) return error.toResponse();
    if (error instanceof HTTPException && error.status === 400) {
      return new Problem(400, error.message || "The request is malformed.").toResponse();
    }
    const { method, path } = c.req;
    log?.error("{method} {path} failed: {error}", { method, path, error });
    return new Problem(500, "The node failed to handle this request; its log has the details.")
      .toResponse();
  });
  app.notFound(() => new Problem(404, "There is nothing at this path.").toResponse());
}

/** Logs each request with the name of its token, at the level debug. */
function logged(access: Access, log: ApiLog | undefined): MiddlewareHandler {
  return async (c, next) => {
    await next();
    const { logLevel } = access.config;
    if (log?.debug === undefined || logLevel !== "debug" && logLevel !== "trace") return;
    const { method, path } = c.req, token = access.nameOf(c.req.raw) ?? null;
    log.debug("{method} {path}: {status}, token {token}", {
      method,
      path,
      status: c.res.status,
      token,
    });
  };
}

/**
 * Responds with status 406 if the Accept header gives the response's type the weight 0. A POST or PUT request is
 * refused before it runs, since the response would always be JSON.
 */
const negotiated: MiddlewareHandler = async (c, next) => {
  const accept = c.req.header("accept"), { method } = c.req;
  if (accept === undefined) return await next();
  const isRead = method === "GET" || method === "HEAD";
  if ((method === "POST" || method === "PUT") && refuses(accept, JSON_TYPE)) {
    throw notAcceptable(JSON_TYPE);
  }
  await next();
  const { headers, body, ok } = c.res;
  const [type] = headers.get("content-type")?.split(";", 1) ?? [];
  if (!isRead || !ok || type === undefined || !refuses(accept, type)) return;
  await body?.cancel();
  // Discard the refused response first. Otherwise, Hono would copy its headers to the new response.
  c.res = undefined;
  c.res = notAcceptable(type).toResponse();
};

const JSON_TYPE = "application/json";

function notAcceptable(type: string): Problem {
  const detail =
    `This answer is ${type}, which the Accept header refuses (q=0): send Accept: ${type}.`;
  return new Problem(406, detail);
}

const safeHeaders: MiddlewareHandler = async (c, next) => {
  await next();
  const { headers, body } = c.res;
  if (c.req.method === "HEAD" && body !== null && !headers.has("content-length")) {
    // A HEAD response gives the length of the GET response (RFC 9110, section 9.3.2). Deno.serve would send 0.
    const { byteLength } = await c.res.clone().arrayBuffer();
    headers.set("content-length", `${byteLength}`);
  }
  for (const [name, value] of Object.entries(SAFE_HEADERS)) {
    if (!headers.has(name)) headers.set(name, value);
  }
};
