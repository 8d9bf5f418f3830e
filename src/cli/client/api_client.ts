// A client for the API of a running node. It turns failures into one-line errors.

import { reason, UserError } from "../terminal/errors.ts";
import { printable } from "../terminal/terminal.ts";
import { ms, plural } from "../../web/format.js";
import { parseJson } from "../../web/json.js";
import { type ApiTarget, apiTarget, socketOf } from "./api_target.ts";

/** The options that all commands for a running node accept. */
export interface ApiFlags {
  readonly api?: string;
  readonly envFile?: string;
  /** The number of seconds after which the command fails if the node has sent nothing. */
  readonly timeout?: number;
  readonly json?: boolean;
}

/** The default timeout of most commands, and the one of `doctor`, which usually asks a node on the same machine. */
export const DEFAULT_TIMEOUT_S = 10, DOCTOR_TIMEOUT_S = 5;

/** The node can't be reached, or the connection to it broke. A later attempt may succeed. */
export class NodeGone extends UserError {
  override readonly name = "NodeGone";
}

/** The node refused a request. `members` contains the fields of the problem document (RFC 9457) in its response. */
export class Refused extends UserError {
  override readonly name = "Refused";

  constructor(
    message: string,
    readonly status: number,
    readonly members: Readonly<Record<string, unknown>>,
  ) {
    super(message, status === 400);
  }
}

/** The query parameters of a URL. Undefined parameters are omitted. */
type Query = Readonly<Record<string, string | number | bigint | undefined>>;

export class Api {
  /** The API's URL, without a trailing slash, or unix: and the path of its socket. */
  readonly url: string;
  /** The beginning that the URLs of all requests share. */
  readonly #base: string;
  /** The client that connects to the Unix socket; undefined if the API's URL names none. */
  readonly #client: Deno.HttpClient | undefined;
  readonly #token: ApiTarget["token"];
  readonly #silentMs: number;

  /** @throws {UserError | ConfigError} as `apiTarget` does */
  constructor({ api, envFile, timeout = DEFAULT_TIMEOUT_S }: ApiFlags) {
    ({ url: this.url, token: this.#token } = apiTarget(api, envFile));
    this.#silentMs = timeout * 1000;
    const path = socketOf(this.url);
    this.#base = path === undefined ? this.url : "http://localhost";
    if (path !== undefined) {
      this.#client = Deno.createHttpClient({ proxy: { transport: "unix", path } });
    }
  }

  at(path: string, query: Query = {}): string {
    const given = Object.entries(query).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, String(value)]]
    );
    return `${this.#base}${path}${given.length === 0 ? "" : `?${new URLSearchParams(given)}`}`;
  }

  /**
   * Fetches a JSON object. Throws a UserError if the response lacks the field `member`, because it is then not from a
   * node.
   */
  async get<T>(path: string, member: keyof T & string, query: Query = {}): Promise<T> {
    return await this.request(this.at(path, query), {}, (r) => this.json<T>(r, member));
  }

  async json<T>(response: Response, member: keyof T & string): Promise<T> {
    const text = await response.text().catch((error) => {
      throw new NodeGone(`the connection to ${this.url} broke (${reason(error)}): try again`);
    });
    try {
      const value = parseJson(text);
      if (typeof value === "object" && value !== null && member in value) return value as T;
    } catch {
      // Ignore the error here: text that is not JSON is reported below.
    }
    throw new UserError(`the server at ${this.url} is not a dmnode, or has another version`);
  }

  /** Sends a request and passes the response to `read`. Throws Refused, or NodeGone if the node does not respond. */
  async request<T>(
    url: string,
    init: RequestInit,
    read: (response: Response) => Promise<T>,
  ): Promise<T> {
    const watchdog = new AbortController();
    const timer = setInterval(() => void this.#checkHealth(watchdog), this.#silentMs / 2);
    const headers = new Headers(init.headers);
    if (this.#token !== undefined) headers.set("authorization", `Bearer ${this.#token.text}`);
    const signal = AbortSignal.any([watchdog.signal, ...(init.signal ? [init.signal] : [])]);
    try {
      // Never follow a redirect: the token and the values are only for the server that the user named.
      const options: RequestInit & { client?: Deno.HttpClient } = {
        ...init,
        client: this.#client,
        headers,
        signal,
        redirect: "manual",
      };
      const response = await fetch(url, options).catch((error) => {
        signal.throwIfAborted();
        // Keep only the operating system's message, which is the last part of the message from Deno.
        const failure = reason(error).replace(/^.*: (?=[^:]+$)/, "");
        throw new NodeGone(
          `no node answers at ${this.url} (${failure}): is it running? Start one with dmnode, or ` +
            "choose another with --api",
          false,
          { cause: error },
        );
      });
      if (!response.ok) throw await this.#refusal(response);
      return await read(response);
    } catch (error) {
      // If the watchdog has aborted the request, throw the watchdog's error: it is the cause of the caught error.
      watchdog.signal.throwIfAborted();
      throw error;
    } finally {
      clearInterval(timer);
    }
  }

  /** Aborts the request if the node does not answer a health check within half of the timeout. */
  async #checkHealth(watchdog: AbortController): Promise<void> {
    try {
      const signal = AbortSignal.timeout(this.#silentMs / 2);
      const response = await fetch(this.at("/healthz"), {
        signal,
        redirect: "manual",
        client: this.#client,
      });
      await response.body?.cancel();
    } catch {
      watchdog.abort(
        new NodeGone(
          `the node at ${this.url} has sent nothing for ${ms(this.#silentMs)}: it ` +
            "hangs, or the network is interrupted (use --timeout to wait longer)",
        ),
      );
    }
  }

  async #refusal(response: Response): Promise<UserError> {
    const { status, headers } = response;
    const location = headers.get("location");
    if (status < 400 && location !== null) {
      await response.body?.cancel();
      return new UserError(
        `the server at ${this.url} redirects to ${
          printable(location)
        }: if that is the node, give its API with --api`,
      );
    }
    const text = await response.text().catch(() => "");
    let problem: Record<string, unknown>;
    try {
      problem = parseJson(text);
      if (typeof problem.title !== "string") throw new Error("not a problem document");
    } catch {
      return new UserError(
        `the server at ${this.url} is not a dmnode (HTTP ${status}): give the node's API with --api`,
      );
    }
    // Turn the sentence from the API into a clause that fits into the error message.
    const detail = printable(String(problem.detail ?? problem.title)).replace(/\.$/, "")
      .replace(/^query parameter /, "").replace(/^[A-Z](?=[a-z ])/, (c) => c.toLowerCase());
    const refused = (message: string) => new Refused(message, status, problem);
    if (status === 401) {
      return refused(
        this.#token === undefined
          ? `the node at ${this.url} requires a token: set API_TOKEN to the node's token, in the ` +
            "environment or in .env"
          : `the node at ${this.url} rejects the API_TOKEN ${this.#token.source}: set it to ` +
            `a token of the node (${detail})`,
      );
    }
    if (status === 429) {
      const seconds = headers.get("retry-after") ?? "";
      const when = /^\d+$/.test(seconds) ? `in ${plural(Number(seconds), "second")}` : "later";
      return refused(`the node accepts no more requests for now: try again ${when} (${detail})`);
    }
    return refused(`${detail} (HTTP ${status})`);
  }
}
