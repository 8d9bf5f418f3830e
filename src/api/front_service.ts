// The API's front as its thread serves it: what comes from the node's thread is done, and what happens is told.

import { bindFailure } from "../runtime/bind_failure.ts";
import { cidrIncludes, isLoopbackHost } from "../krpc/address_range.ts";
import { Endpoint } from "../krpc/endpoint.ts";
import { Broadcast, type Listener } from "./event_broadcast.ts";
import { EventLog } from "./event_log.ts";
import { subscribe } from "./event_sinks.ts";
import { type Clock, Front } from "./front.ts";
import {
  type ConnectionId,
  type FrontOrder,
  type FrontPort,
  type FrontReport,
  type Listening,
  Outbox,
  type Subscription,
} from "./front_messages.ts";

/** Serves what is ordered through `port`; without `clock` by the real time. */
export function serveFront(port: FrontPort<FrontReport, FrontOrder>, clock?: Clock): void {
  const outbox = new Outbox<FrontReport>(port);
  const service = new FrontService(outbox, clock);
  port.onmessage = ({ data }) => data.forEach((order) => service.do(order));
  outbox.post({ type: "ready" });
}

class FrontService {
  readonly #outbox: Outbox<FrontReport>;
  readonly #clock: Clock | undefined;
  readonly #listeners = new Map<ConnectionId, Listener>();
  #front: Front | undefined;
  #broadcast: Broadcast | undefined;
  #serverPort = 0;

  constructor(outbox: Outbox<FrontReport>, clock: Clock | undefined) {
    this.#outbox = outbox;
    this.#clock = clock;
  }

  do(order: FrontOrder): void {
    switch (order.do) {
      case "listen":
        return this.#listen(order.at);
      case "serve":
        this.#serverPort = order.port;
        return;
      case "begin":
        return this.#front?.connection(order.id)?.begin(order.hasBody);
      case "done":
        return this.#front?.connection(order.id)?.done(order.hasBody);
      case "number":
        this.#broadcast = new Broadcast(new EventLog(order.from));
        return;
      case "tell":
        return this.#broadcast?.tell(order.event);
      case "subscribe":
        return this.#subscribe(order.id, order.to);
      case "tell one":
        return this.#listeners.get(order.id)?.tell(order.text);
      case "unsubscribe":
        return this.#listeners.get(order.id)?.end("stopping");
      case "unsubscribe all":
        return this.#broadcast?.close();
      case "note exhausted":
        return this.#front?.noteExhausted();
      case "stop":
        return this.#stop();
      case "cut":
        return this.#front?.cut();
    }
  }

  #listen({ hostname, port, limits, proxies, serverPort }: Listening): void {
    this.#serverPort = serverPort;
    let listener: Deno.TcpListener;
    try {
      listener = Deno.listen({ hostname, port });
    } catch (error) {
      this.#outbox.post({
        type: "can't listen",
        reason: bindFailure(error, "API", hostname, port, "can't listen"),
      });
      return;
    }
    const isProxy = proxyCheck(proxies);
    this.#front = new Front({
      listener,
      port: () => this.#serverPort,
      limits,
      isShared: (address) => isLoopbackHost(address) || isProxy(address),
      clock: this.#clock,
      refused: (reason) => this.#outbox.post({ type: "refused", reason }),
      dialed: (id, port, address) => {
        this.#outbox.post({ type: "dialed", id, port, address });
        // Ahead of the request.
        this.#outbox.flush();
      },
      closed: (id) => {
        this.#listeners.delete(id);
        this.#outbox.post({ type: "closed", id });
      },
    });
    this.#outbox.post({ type: "listening", port: listener.addr.port });
  }

  #subscribe(id: ConnectionId, to: Subscription): void {
    const connection = this.#front?.connection(id);
    // Where it is gone, that has been told.
    if (connection === undefined || this.#broadcast === undefined) return;
    const listener = this.#broadcast.open(to, () => this.#outbox.post({ type: "left", id }));
    this.#listeners.set(id, listener);
    subscribe(connection, listener, to);
    this.#outbox.post({ type: "subscribed", id });
  }

  #stop(): void {
    this.#front?.stop();
    void this.#front?.drained().then(() => this.#outbox.post({ type: "drained" }));
  }
}

function proxyCheck(proxies: Listening["proxies"]): (address: string) => boolean {
  const ranges = proxies.map(([host, prefix]) =>
    ({ kind: "cidr", address: Endpoint.parse(host, 0)!, prefix }) as const
  );
  return (address) => {
    const endpoint = Endpoint.parse(address, 0);
    return endpoint !== undefined && ranges.some((range) => cidrIncludes(range, endpoint));
  };
}
