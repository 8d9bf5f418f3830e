// OpenTelemetry spans, if Deno exports them (OTEL_DENO).

import type { Span } from "@opentelemetry/api";

/**
 * The OpenTelemetry API. Deno registers itself under this symbol if it exports spans. Otherwise the API is not loaded,
 * as its 120 modules would only take up memory.
 */
const api = Symbol.for("opentelemetry.js.api.1") in globalThis
  ? await import("@opentelemetry/api")
  : undefined;

/**
 * Names Deno's span of the current request after its route. If the name contained the full path,
 * each value would have its own name.
 */
export function nameRequestSpan(method: string, route: string): void {
  const span = api?.trace.getActiveSpan();
  span?.updateName(`${method} ${route}`).setAttribute("http.route", route);
}

/**
 * Runs an operation in its own span, which is undefined if spans are not exported. Marks the span if the operation
 * fails.
 */
export async function inSpan<T>(
  name: string,
  run: (span: Span | undefined) => Promise<T>,
): Promise<T> {
  if (api === undefined) return await run(undefined);
  const { SpanStatusCode, trace } = api;
  return await trace.getTracer("dmnode").startActiveSpan(name, async (span) => {
    try {
      return await run(span);
    } catch (error) {
      span.setStatus({ code: SpanStatusCode.ERROR, message: String(error) });
      throw error;
    } finally {
      span.end();
    }
  });
}
