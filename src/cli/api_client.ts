// A running node, as the client commands see it: its API's URL and token, and one line for whatever goes wrong.

import { parse as parseDotenv } from "dotenv";
import { readEnvFile, readTokenFile } from "./env_file.ts";
import { reason, UserError } from "./errors.ts";
import { isApiUrl } from "./option_types.ts";
import { printable } from "./terminal.ts";
import { counted, duration } from "./units.ts";

/** What every client command takes. */
export interface ApiFlags {
  readonly api?: string;
  readonly envFile?: string;
  /** Seconds; a node that is silent for longer is given up. */
  readonly timeout?: number;
  readonly json?: boolean;
}

/** A node that works says how it is within milliseconds; one that is overloaded, within seconds. */
export const DEFAULT_TIMEOUT_S = 10;

/** `doctor` asks a node on this machine as a rule: longer, and something is wrong with it. */
export const DOCTOR_TIMEOUT_S = 5;

const DEFAULT_URL = "http://127.0.0.1:8080";

/** The node can't be reached, or is there no more: it may come back. */
export class NodeGone extends UserError {
  override readonly name = "NodeGone";
}

/** The node refused a request. `members` are those of its problem document (RFC 9457). */
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

export interface RequestOptions {
  readonly body?: ReadableStream<Uint8Array<ArrayBuffer>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** Parameters of a query; those that are undefined are left out. */
export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export class Api {
  /** Without a slash at its end. */
  readonly url: string;
  /** What the node may ask for. */
  readonly token: string | undefined;
  /** Where the token was found. */
  readonly #tokenSource: string;
  readonly #silentMs: number;

  /** @throws {UserError} where the environment or .env names no URL */
  constructor({ api, envFile, timeout = DEFAULT_TIMEOUT_S }: ApiFlags) {
    const file = parseDotenv(readEnvFile(envFile) ?? "");
    const setting = (name: string): readonly [value: string, source: string] | undefined => {
      const value = Deno.env.get(name)?.trim();
      if (value) return [value, "in the environment"];
      const inFile = file[name]?.trim();
      return inFile ? [inFile, `in ${envFile ?? ".env"}`] : undefined;
    };
    this.url = api ?? urlOf(setting);
    const given = setting("API_TOKEN"), named = setting("API_TOKEN_FILE");
    this.token = given?.[0] ?? (named && readTokenFile(named[0]) || undefined);
    this.#tokenSource = given?.[1] ?? `in ${named?.[0]}`;
    this.#silentMs = timeout * 1000;
  }

  /** The path's URL, with this query. */
  at(path: string, query: Query = {}): string {
    const given = Object.entries(query).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, String(value)]]
    );
    return `${this.url}${path}${given.length === 0 ? "" : `?${new URLSearchParams(given)}`}`;
  }

  /**
   * Gets a JSON object.
   *
   * @param member one that every such answer has: without it, what answers is something else
   */
  async get<T>(path: string, member: keyof T & string, query: Query = {}): Promise<T> {
    return await this.request("GET", this.at(path, query), {}, (r) => this.json<T>(r, member));
  }

  /** The JSON object of a response. */
  async json<T>(response: Response, member: keyof T & string): Promise<T> {
    const text = await response.text().catch((error) => {
      throw new NodeGone(`the connection to ${this.url} broke (${reason(error)}): try again`);
    });
    try {
      const value = JSON.parse(text);
      if (typeof value === "object" && value !== null && member in value) return value as T;
    } catch {
      // Told below.
    }
    throw new UserError(`what answers at ${this.url} is no dmnode, or one of another version`);
  }

  /**
   * Sends a request, and has `read` take the answer. While either is waited for, the node is asked now and then
   * whether it lives.
   *
   * @throws {NodeGone} where it does not
   * @throws {Refused} where it answered with an error
   */
  async request<T>(
    method: string,
    url: string,
    { body, headers, signal }: RequestOptions,
    read: (response: Response) => Promise<T>,
  ): Promise<T> {
    const watchdog = this.watchdog();
    const signals = signal === undefined ? [watchdog.signal] : [watchdog.signal, signal];
    try {
      const response = await this.#fetch(url, {
        method,
        body,
        headers: {
          ...headers,
          ...(this.token === undefined ? {} : { authorization: `Bearer ${this.token}` }),
        },
        signal: AbortSignal.any(signals),
      });
      if (!response.ok) throw await this.#refusal(response);
      return await read(response);
    } catch (error) {
      // Whatever broke then, silence was why.
      watchdog.signal.throwIfAborted();
      throw error;
    } finally {
      watchdog.stop();
    }
  }

  /** Watches over a connection, until it is stopped. */
  watchdog(): Watchdog {
    return new Watchdog(`${this.url}/healthz`, this.#silentMs);
  }

  async #fetch(url: string, init: RequestInit): Promise<Response> {
    try {
      return await fetch(url, init);
    } catch (error) {
      init.signal?.throwIfAborted();
      throw new NodeGone(
        `no node answers at ${this.url} (${connectionFailure(error)}): is it running? Start one ` +
          "with dmnode, or name another with --api",
        false,
        { cause: error },
      );
    }
  }

  async #refusal(response: Response): Promise<UserError> {
    const { status, headers } = response;
    const text = await response.text().catch(() => "");
    let problem: Record<string, unknown>;
    try {
      problem = JSON.parse(text);
      if (typeof problem.title !== "string") throw new Error("it is no problem document");
    } catch {
      return new UserError(
        `what answers at ${this.url} is no dmnode (HTTP ${status}): name the node's API with --api`,
      );
    }
    // A sentence of the API as part of one of ours.
    const detail = printable(String(problem.detail ?? problem.title)).replace(/\.$/, "")
      .replace(/^query parameter /, "").replace(/^[A-Z](?=[a-z ])/, (c) => c.toLowerCase());
    const told = (message: string) => new Refused(message, status, problem);
    if (status === 401) {
      return told(
        this.token === undefined
          ? `the node at ${this.url} asks for a token: set API_TOKEN to the node's own, in the ` +
            "environment or in .env"
          : `the node at ${this.url} does not know the API_TOKEN ${this.#tokenSource}: set it to ` +
            "the node's own",
      );
    }
    if (status === 429) {
      const seconds = headers.get("retry-after") ?? "";
      const when = /^\d+$/.test(seconds) ? `in ${counted(Number(seconds), "second")}` : "later";
      return told(`the node takes no more requests for now: try again ${when} (${detail})`);
    }
    return told(`${detail} (HTTP ${status})`);
  }
}

function urlOf(
  setting: (name: string) => readonly [value: string, source: string] | undefined,
): string {
  const named = setting("DMNODE_API");
  if (named !== undefined) {
    const [url, source] = named;
    if (isApiUrl(url)) return url.replace(/\/+$/, "");
    throw new UserError(
      `DMNODE_API: ${JSON.stringify(url)} ${source}: expected a URL such as ${DEFAULT_URL}`,
      true,
    );
  }
  // The node of the same settings.
  const [host] = setting("API_HOST") ?? ["127.0.0.1"], [port] = setting("API_PORT") ?? ["8080"];
  const isAny = host === "0.0.0.0" || host === "::";
  const url = `http://${isAny ? "127.0.0.1" : host.includes(":") ? `[${host}]` : host}:${port}`;
  if (port === "0") return DEFAULT_URL;
  if (URL.canParse(url)) return url;
  throw new UserError(
    `API_HOST and API_PORT: ${JSON.stringify(url)} is no URL: correct them`,
    true,
  );
}

/** The system's own words, which Deno puts at the end of a chain. */
function connectionFailure(error: unknown): string {
  return reason(error).replace(/^.*: (?=[^:]+$)/, "");
}

/** Gives a node up that is silent: after half of the time it is asked for its health, and has the other half for that. */
export class Watchdog {
  readonly #controller = new AbortController();
  readonly #url: string;
  readonly #silentMs: number;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(url: string, silentMs: number) {
    this.#url = url;
    this.#silentMs = silentMs;
    this.#arm();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** The node has said something. */
  heard(): void {
    clearTimeout(this.#timer);
    this.#arm();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #arm(): void {
    this.#timer = setTimeout(() => void this.#ask(), this.#silentMs / 2);
  }

  async #ask(): Promise<void> {
    try {
      const response = await fetch(this.#url, { signal: AbortSignal.timeout(this.#silentMs / 2) });
      await response.body?.cancel();
      if (this.#timer !== undefined) this.#arm();
    } catch {
      const silence = this.#silentMs < 1000
        ? `${this.#silentMs} ms`
        : duration(this.#silentMs / 1000);
      this.#controller.abort(
        new NodeGone(
          `the node at ${
            new URL(this.#url).origin
          } has said nothing for ${silence}: it hangs, or ` +
            "the way to it is cut (--timeout waits longer)",
        ),
      );
    }
  }
}
