// The API's socket: listens, and stops without cutting off the requests in hand.

import { Problem } from "./problems.ts";

/** The API can't listen where it was told to. The message is one line for the user. */
export class ListenError extends Error {
  override readonly name = "ListenError";
}

/** A listening API. */
export interface ApiServer {
  /** For people and for `--api`: real port, IPv6 hosts in brackets. */
  readonly url: string;
  readonly port: number;
  /** Takes no more connections, waits for the requests in hand up to `graceMs`, then answers 503. */
  close(graceMs?: number): Promise<void>;
}

/** Leaves time for saving state within the 5 s that a stopping node has. */
const CLOSE_GRACE_MS = 2000;
/** For the last answers to reach their clients; some Deno versions wait for silent connections without end. */
const FLUSH_MS = 500;

/**
 * Serves `app` on a TCP socket.
 *
 * @throws {ListenError} where the port is taken, forbidden, or not this machine's
 */
export function serveApi(
  app: { fetch(request: Request): Response | Promise<Response>; endStreams?(): void },
  { hostname, port }: { hostname: string; port: number },
): ApiServer {
  const inHand = new Set<(answer: Response) => void>();
  const answer = async (request: Request) => await app.fetch(request);
  const failed = () => new Problem(500, "The node failed to handle this request.").toResponse();
  let idle: (() => void) | undefined;
  let server: Deno.HttpServer<Deno.NetAddr>;
  try {
    server = Deno.serve(
      { hostname, port, onListen: () => {}, onError: failed },
      (request) =>
        new Promise<Response>((resolve, reject) => {
          inHand.add(resolve);
          answer(request).then(resolve, reject).finally(() => {
            inHand.delete(resolve);
            if (inHand.size === 0) idle?.();
          });
        }),
    );
  } catch (error) {
    throw new ListenError(reason(error, hostname, port), { cause: error });
  }
  return {
    url: `http://${hostname.includes(":") ? `[${hostname}]` : hostname}:${server.addr.port}`,
    port: server.addr.port,
    async close(graceMs = CLOSE_GRACE_MS) {
      app.endStreams?.();
      const closed = server.shutdown();
      const drained = new Promise<void>((resolve) => {
        idle = resolve;
        if (inHand.size === 0) resolve();
      });
      await waitFor(Promise.race([closed, drained]), graceMs);
      // An abort signal can't do this: Deno throws when it fires after a shutdown began.
      for (const resolve of inHand) {
        resolve(new Problem(503, "The node is stopping.").toResponse());
      }
      await waitFor(closed, FLUSH_MS);
    },
  };
}

/** Waits for `promise`, however it ends, but no longer than `ms`. */
async function waitFor(promise: Promise<unknown>, ms: number): Promise<void> {
  const { promise: timeout, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  await Promise.race([promise.catch(() => {}), timeout]);
  clearTimeout(timer);
}

function reason(error: unknown, hostname: string, port: number): string {
  const where = `API_HOST ${hostname}, API_PORT ${port}`;
  if (error instanceof Deno.errors.AddrInUse) {
    return `${where}: the port is in use; stop the other program or choose another with --api-port`;
  }
  if (error instanceof Deno.errors.AddrNotAvailable) {
    return `${where}: this machine has no such address; choose another with --api-host`;
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return `${where}: not permitted; ports below 1024 need privileges, choose another with --api-port`;
  }
  const message = error instanceof Error ? error.message : String(error);
  return `${where}: can't listen: ${message.split("\n")[0]}`;
}
