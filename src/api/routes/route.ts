// Declares the operations of the API together with their descriptions in the OpenAPI document.

import {
  createRoute,
  type OpenAPIHono,
  type RouteConfig,
  type RouteHandler,
} from "@hono/zod-openapi";
import type { Handler, MiddlewareHandler, TypedResponse } from "hono";
import type { z } from "zod";
import type { JSONParsed } from "hono/utils/types";
import type { Config } from "../../config.ts";
import type { NodeService } from "../../node_service.ts";
import type { Access, Requirement } from "../access.ts";
import type { ApiMetrics } from "../metrics.ts";
import { jsonText } from "../../web/json.js";
import { queryOf } from "../requests.ts";
import { withCommon } from "./answers.ts";

/** The dependencies of the routes. */
export interface RouteDeps {
  readonly service: NodeService;
  readonly config: Config;
  readonly access: Access;
  readonly metrics: ApiMetrics;
}

/** Returns a function that creates the basic fields of an operation with this method. */
const operation =
  <M extends RouteConfig["method"]>(method: M) =>
  <P extends string>(path: P, operationId: string, summary: string) => ({
    method,
    path,
    operationId,
    summary,
  });

export const get = operation("get");
export const put = operation("put");
export const post = operation("post");
export const del = operation("delete");

/** Returns a JSON response that contains all digits of large integers. `c.json` fails if a `seq` is beyond 2^53. */
export function exactJson<T, S extends 200 | 201 | 202>(
  value: T,
  status: S,
  headers: Readonly<Record<string, string>> = {},
): Response & TypedResponse<JSONParsed<T>, S, "json"> {
  const type = { "content-type": "application/json" };
  const response = new Response(jsonText(value), { status, headers: { ...type, ...headers } });
  return response as Response & TypedResponse<JSONParsed<T>, S, "json">;
}

/** Adds an operation only to the document. Its route is registered separately, and its handler validates requests. */
export function describe({ openAPIRegistry }: OpenAPIHono, route: RouteConfig): void {
  const responses = withCommon(route.responses, route.security !== undefined);
  openAPIRegistry.registerPath({ ...route, responses });
}

/** Like `describe`, for an operation with a `Requirement`. Returns the middleware that checks the requirement. */
export function describeGuarded(
  app: OpenAPIHono,
  { middleware, ...route }: RouteConfig & Requirement,
): MiddlewareHandler {
  describe(app, route);
  return middleware;
}

/**
 * Adds an operation to the document and registers its route. Parameters are validated before the handler runs, and the
 * query may have no others.
 */
export function serve<R extends RouteConfig>(
  app: OpenAPIHono,
  route: R,
  handler: RouteHandler<R>,
): void {
  const responses = withCommon(route.responses, route.security !== undefined);
  const query = route.request?.query as z.ZodObject | undefined;
  const names = Object.keys(query?.shape ?? {});
  const checked: Handler = (c, next) => {
    queryOf(c.req.url, names);
    return handler(c as Parameters<typeof handler>[0], next);
  };
  app.openapi(createRoute({ ...route, responses }) as unknown as R, checked as typeof handler);
}
