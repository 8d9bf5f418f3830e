// Routers for the tests of port mapping, on real loopback sockets, with the answers that each test sets.

import assert from "node:assert/strict";
import { getLogger } from "logtape";
import type { Clock } from "../../../src/large_values/item_network.ts";
import { Endpoint, type Family } from "../../../src/krpc/endpoint.ts";
import type { LocalNetwork } from "../../../src/runtime/port_mapping/local_network.ts";
import type { MappingState } from "../../../src/runtime/port_mapping/keeper.ts";
import { PortMapping } from "../../../src/runtime/port_mapping/port_mapping.ts";
import { endpointOf, type MappingHost } from "../../../src/runtime/port_mapping/router.ts";

/** A clock that stands still until the test advances it. */
export class TestClock implements Clock {
  #now = 1_000_000_000_000;
  readonly #sleepers = new Set<{ at: number; wake: () => void }>();

  now(): number {
    return this.#now;
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        this.#sleepers.delete(sleeper);
        signal.removeEventListener("abort", wake);
        resolve();
      };
      const sleeper = { at: this.#now + ms, wake };
      this.#sleepers.add(sleeper);
      signal.addEventListener("abort", wake);
      if (signal.aborted) wake();
    });
  }

  /** Advances the clock, and wakes the sleepers that are due. */
  advance(ms: number): void {
    this.#now += ms;
    for (const sleeper of [...this.#sleepers]) if (sleeper.at <= this.#now) sleeper.wake();
  }

  /** Whether only the keeper's wait for its next step remains. All other waits are shorter, or not alone. */
  get isIdle(): boolean {
    const { waits } = this;
    return waits.length === 1 && waits[0] > 6_000;
  }

  /** The pending waits, in milliseconds from now. */
  get waits(): number[] {
    return Array.from(this.#sleepers, ({ at }) => at - this.#now).sort((x, y) => x - y);
  }
}

/** Polls in real time until a condition holds, as sockets need a moment. */
export async function until(
  state: string,
  isSo: () => boolean,
  describe: () => unknown = () => "",
): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!isSo()) {
    if (Date.now() > deadline) assert.fail(`not ${state} ${describe()}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** The same, while the clock advances about ten times as fast as real time, and faster when idle. */
export async function passUntil(clock: TestClock, state: string, isSo: () => boolean) {
  await until(state, () => {
    clock.advance(clock.isIdle ? 1_000 : 20);
    return isSo();
  });
}

export const NONCE = Uint8Array.from({ length: 12 }, (_, i) => 0xa0 + i);

/** A network of this machine and the routers of the test. */
export class TestNetwork implements LocalNetwork {
  own: Endpoint | undefined = endpointOf("127.0.0.1", 1);
  routers: Endpoint[] = [endpointOf("127.0.0.1", 1)];

  // deno-lint-ignore require-await
  async ownAddress(family: Family): Promise<Endpoint | undefined> {
    return this.own?.family === family ? this.own : undefined;
  }

  isOwn(address: Endpoint): boolean {
    return this.own?.sameAddress(address) === true;
  }

  likelyRouters(): Endpoint[] {
    return this.routers;
  }
}

/** A port mapping and its surroundings, for one test. */
export class Scene implements AsyncDisposable {
  readonly clock = new TestClock();
  readonly network = new TestNetwork();
  readonly changes: MappingState[] = [];
  readonly mapping: PortMapping;
  readonly host: { -readonly [K in keyof MappingHost]: MappingHost[K] };
  readonly #routers: { close(): Promise<void> }[];

  /** Missing routers have ports on which nothing listens. */
  constructor(routers: { control?: FakeControl; ssdp?: FakeIgd }, announcements = 0) {
    this.host = {
      allows: (endpoint) => endpoint.scope === "loopback",
      clock: this.clock,
      random: () => 0.5,
      ports: {
        control: routers.control?.port ?? deadPort(),
        ssdp: routers.ssdp?.ssdpPort ?? deadPort(),
        announcements,
      },
    };
    this.#routers = Object.values(routers);
    this.mapping = new PortMapping({
      host: this.host,
      network: this.network,
      nonce: NONCE,
      log: getLogger(["dmnode", "test"]),
      onChange: (_, state) => this.changes.push(state),
    });
  }

  get isIdle(): boolean {
    return this.clock.isIdle;
  }

  get state(): MappingState {
    return this.mapping.state(4);
  }

  start(port = 8000): void {
    this.mapping.start(port, [4]);
  }

  /** Starts the port mapping if necessary, and waits until it has this status. */
  async reaches(status: MappingState["status"]): Promise<MappingState> {
    if (this.state.status === "off") this.start();
    await passUntil(this.clock, status, () => this.state.status === status);
    return this.state;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closing = this.mapping.close();
    let isClosed = false;
    void closing.then(() => isClosed = true);
    await passUntil(this.clock, "closed", () => isClosed);
    for (const router of this.#routers) await router.close();
  }
}

function deadPort(): number {
  const conn = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  conn.close();
  return (conn.addr as Deno.NetAddr).port;
}

/** The answers to a datagram, possibly none. */
export type Answers = (request: Uint8Array) => Uint8Array[];

/** A router's port control service over UDP. */
export class FakeControl {
  readonly requests: Uint8Array[] = [];
  readonly #conn: Deno.DatagramConn;
  readonly #serving: Promise<void>;
  answers: Answers;

  constructor(answers: Answers) {
    this.answers = answers;
    this.#conn = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
    this.#serving = this.#serve();
  }

  get port(): number {
    return (this.#conn.addr as Deno.NetAddr).port;
  }

  async #serve(): Promise<void> {
    for await (const [bytes, from] of this.#conn) {
      this.requests.push(bytes);
      for (const answer of this.answers(bytes)) await this.#conn.send(answer, from);
    }
  }

  async close(): Promise<void> {
    this.#conn.close();
    await this.#serving;
  }
}

/** The settings and the state of a PCP server. */
export class PcpState {
  result = 0;
  epochS = 1000;
  lifetimeS = 3600;
  external = "45.83.113.5";
  /** The port that is granted; undefined for the requested one. */
  externalPort: number | undefined;
  /** Mappings by internal port. */
  readonly mappings = new Map<number, { nonce: string; externalPort: number }>();

  readonly answers: Answers = (request) => {
    if (request[0] !== 2) return [];
    const opcode = request[1];
    const view = new DataView(request.buffer, request.byteOffset, request.length);
    const answer = new Uint8Array(request), out = new DataView(answer.buffer);
    answer[1] = 0x80 | opcode;
    answer[3] = this.result;
    out.setUint32(4, this.lifetimeS);
    out.setUint32(8, this.epochS);
    answer.fill(0, 12, 24);
    if (opcode !== 1) return [answer];
    const port = view.getUint16(40), lifetime = view.getUint32(4);
    const externalPort = this.externalPort ?? view.getUint16(42);
    if (lifetime === 0) {
      this.mappings.delete(port);
      out.setUint32(4, 0);
      return [answer];
    }
    if (this.result === 0) {
      this.mappings.set(port, { nonce: request.subarray(24, 36).join(), externalPort });
    }
    out.setUint16(42, externalPort);
    const compact = new Uint8Array(18);
    const external = endpointOf(this.external, 1);
    answer.fill(0, 44, 60);
    external.write(compact, 0);
    if (external.family === 4) {
      answer.fill(0xff, 54, 56);
      answer.set(compact.subarray(0, 4), 56);
    } else answer.set(compact.subarray(0, 16), 44);
    return [answer];
  };
}

/** The settings and the state of a NAT-PMP server. */
export class NatPmpState {
  result = 0;
  mapResult = 0;
  epochS = 1000;
  lifetimeS = 3600;
  external = "45.83.113.6";
  externalPort: number | undefined;
  readonly mappings = new Map<number, number>();

  readonly answers: Answers = (request) => {
    const view = new DataView(request.buffer, request.byteOffset, request.length);
    if (request[0] !== 0) {
      // "Unsupported Version" (RFC 6886, section 3.5).
      const answer = new DataView(new ArrayBuffer(8));
      answer.setUint8(1, 0x80 | request[1]);
      answer.setUint16(2, 1);
      answer.setUint32(4, this.epochS);
      return [new Uint8Array(answer.buffer)];
    }
    if (request[1] === 0) {
      const answer = new DataView(new ArrayBuffer(12));
      answer.setUint8(1, 0x80);
      answer.setUint16(2, this.result);
      answer.setUint32(4, this.epochS);
      answer.setInt32(8, endpointOf(this.external, 1).a);
      return [new Uint8Array(answer.buffer)];
    }
    const internal = view.getUint16(4), wish = view.getUint16(6), lifetime = view.getUint32(8);
    const external = lifetime === 0 ? 0 : this.externalPort ?? wish;
    if (lifetime === 0) this.mappings.delete(internal);
    else if (this.mapResult === 0) this.mappings.set(internal, external);
    const answer = new DataView(new ArrayBuffer(16));
    answer.setUint8(1, 0x81);
    answer.setUint16(2, this.mapResult);
    answer.setUint32(4, this.epochS);
    answer.setUint16(8, internal);
    answer.setUint16(10, external);
    answer.setUint32(12, lifetime === 0 ? 0 : this.lifetimeS);
    return [new Uint8Array(answer.buffer)];
  };
}

/** The answer to a SOAP action: values, an error code, or a raw response. */
export type SoapAnswer =
  | Record<string, string | number>
  | { error: number }
  | { raw: string | (() => AsyncGenerator<string>) };

/** A UPnP router with SSDP and a web server. */
export class FakeIgd {
  version = 1;
  external = "45.83.113.7";
  /** Entries by external port: client, internal port and duration. */
  readonly entries = new Map<number, [client: string, port: number, lease: number]>();
  /** Overrides actions by name. */
  readonly overrule = new Map<string, (values: Map<string, string>) => SoapAnswer | undefined>();
  /** The actions that were called, in order. */
  readonly calls: string[] = [];
  /** The whole requests to the web server. */
  readonly requests: string[] = [];
  /** Undefined for the address of the web server. */
  location: string | undefined;
  controlUrl = "/ctl";
  urlBase: string | undefined;
  /** A raw response to send instead of the description. */
  description: string | undefined;
  readonly #ssdp: Deno.DatagramConn;
  readonly #web: Deno.Listener;
  readonly #serving: Promise<unknown>;

  constructor(hostname = "127.0.0.1") {
    this.#ssdp = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
    this.#web = Deno.listen({ hostname, port: 0 });
    this.#serving = Promise.all([this.#answerSearches(), this.#serveWeb()]);
  }

  get ssdpPort(): number {
    return (this.#ssdp.addr as Deno.NetAddr).port;
  }

  get webPort(): number {
    return (this.#web.addr as Deno.NetAddr).port;
  }

  async #answerSearches(): Promise<void> {
    for await (const [bytes, from] of this.#ssdp) {
      const text = new TextDecoder().decode(bytes);
      if (!/^M-SEARCH \* HTTP\/1\.1\r\n/.test(text)) continue;
      const location = this.location ?? `http://127.0.0.1:${this.webPort}/desc.xml`;
      const lines = ["HTTP/1.1 200 OK", "CACHE-CONTROL: max-age=1800", `Location: ${location}`];
      await this.#ssdp.send(new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n`), from);
    }
  }

  async #serveWeb(): Promise<void> {
    const conversations: Promise<void>[] = [];
    for await (const conn of this.#web) conversations.push(this.#converse(conn));
    await Promise.all(conversations);
  }

  async #converse(conn: Deno.Conn): Promise<void> {
    try {
      const decoder = new TextDecoder(), buffer = new Uint8Array(65536);
      let text = "";
      for (;;) {
        const read = await conn.read(buffer);
        if (read === null) return;
        text += decoder.decode(buffer.subarray(0, read));
        const end = text.indexOf("\r\n\r\n");
        const length = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0);
        if (end >= 0 && text.length >= end + 4 + length) break;
      }
      this.requests.push(text);
      for await (const part of this.#respond(text)) {
        await conn.write(new TextEncoder().encode(part));
      }
    } catch {
      // The client has closed the connection.
    } finally {
      conn.close();
    }
  }

  async *#respond(request: string): AsyncGenerator<string> {
    if (request.startsWith("GET ")) {
      yield this.description ?? response(200, this.#describe());
      return;
    }
    const action = /^soapaction: "[^"#]*#(\w+)"/im.exec(request)![1];
    this.calls.push(action);
    const values = new Map(
      Array.from(
        request.matchAll(/<(New\w+|\w+)>([^<]*)<\/\1>/g),
        ([, name, text]) => [name, text],
      ),
    );
    const answer = this.overrule.get(action)?.(values) ?? this.#act(action, values);
    if ("raw" in answer) {
      if (typeof answer.raw === "string") yield answer.raw;
      else if (typeof answer.raw === "function") yield* answer.raw();
    } else if ("error" in answer) {
      yield response(
        500,
        `<s:Envelope xmlns:s="x"><s:Body><s:Fault><detail><UPnPError xmlns="y"><errorCode>${answer.error}` +
          `</errorCode><errorDescription>Because\u0007 of ${answer.error}</errorDescription></UPnPError>` +
          "</detail></s:Fault></s:Body></s:Envelope>",
      );
    } else {
      const body = Object.entries(answer).map(([name, value]) => `<${name}>${value}</${name}>`);
      yield response(
        200,
        `<s:Envelope xmlns:s="x"><s:Body><u:${action}Response xmlns:u="z">${
          body.join("")
        }</u:${action}Response></s:Body></s:Envelope>`,
      );
    }
  }

  #act(action: string, values: Map<string, string>): SoapAnswer {
    const port = Number(values.get("NewExternalPort"));
    const add = (at: number) => {
      const client = values.get("NewInternalClient")!;
      const inside = Number(values.get("NewInternalPort"));
      this.entries.set(at, [client, inside, Number(values.get("NewLeaseDuration"))]);
    };
    switch (action) {
      case "GetExternalIPAddress":
        return { NewExternalIPAddress: this.external };
      case "GetSpecificPortMappingEntry": {
        const entry = this.entries.get(port);
        return entry === undefined
          ? { error: 714 }
          : { NewInternalPort: entry[1], NewInternalClient: entry[0], NewEnabled: 1 };
      }
      case "AddAnyPortMapping": {
        if (this.version < 2) return { error: 401 };
        let at = port;
        while (this.entries.has(at)) at++;
        add(at);
        return { NewReservedPort: at };
      }
      case "AddPortMapping": {
        const entry = this.entries.get(port);
        if (entry !== undefined && entry[0] !== values.get("NewInternalClient")) {
          return { error: 718 };
        }
        add(port);
        return {};
      }
      case "DeletePortMapping":
        return this.entries.delete(port) ? {} : { error: 714 };
      default:
        return { error: 401 };
    }
  }

  #describe(): string {
    return `<?xml version="1.0"?>\n<root>${
      this.urlBase === undefined ? "" : `<URLBase>${this.urlBase}</URLBase>`
    }<device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:${this.version}</deviceType>
      <serviceList><service><serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1</serviceType>
        <controlURL>/l3f</controlURL></service></serviceList>
      <deviceList><device><serviceList><service>
        <serviceType>urn:schemas-upnp-org:service:WANIPConnection:${this.version}</serviceType>
        <serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId>
        <controlURL>${this.controlUrl}</controlURL><eventSubURL>/evt</eventSubURL>
      </service></serviceList></device></deviceList></device></root>`;
  }

  async close(): Promise<void> {
    this.#ssdp.close();
    this.#web.close();
    await this.#serving;
  }
}

/** A response of a web server. */
export function response(status: number, body: string, headers = ""): string {
  const bytes = new TextEncoder().encode(body).length;
  return `HTTP/1.1 ${status} X\r\nContent-Length: ${bytes}\r\n${headers}Connection: close\r\n\r\n${body}`;
}
