// A node of this process: the core on real sockets, clock and disk, behind the NodeService interface.

import { getLogger } from "logtape";
import type { Config, HostPort } from "../config.ts";
import type { Clock } from "../data/item_network.ts";
import type { Progress } from "../data/large_values.ts";
import type { Contact } from "../dht/contact.ts";
import type { Millis } from "../dht/deadlines.ts";
import type { Host, NodeEvent } from "../dht/host.ts";
import { type ItemStore, MemoryItemStore } from "../dht/item_store.ts";
import type { Candidate } from "../dht/lookup.ts";
import { DhtNode, type FindResult, type PingResult } from "../dht/node.ts";
import type { Seed } from "../dht/membership.ts";
import type { NatState } from "../dht/nat.ts";
import type { ReachResult } from "../dht/punching.ts";
import { MemoryPublishedStore, type PublishedStore } from "../dht/published.ts";
import type { Endpoint } from "../krpc/endpoint.ts";
import { distanceBits, Id, ID_BYTES } from "../krpc/id.ts";
import { StorageError } from "../storage/database.ts";
import { DiskStorage } from "../storage/disk.ts";
import { CLIENT } from "../version.ts";
import { BootstrapNodes } from "./bootstrap.ts";
import { Identity, itemCrypto } from "./crypto.ts";
import { type EventListener, EventListeners, type ServiceEvent, serviceEvent } from "./events.ts";
import { parseId } from "./hex.ts";
import { createIdentity, databasePath, readIdentity } from "./identity.ts";
import { natText } from "./nat_report.ts";
import { NetFilter, resolveAll, type ResolveName, systemNames } from "./net_scope.ts";
import type { HourSample } from "./past_hour.ts";
import { PeerHistory } from "./peer_history.ts";
import { SystemNetwork } from "./port_mapping/local_network.ts";
import { PortMapping } from "./port_mapping/port_mapping.ts";
import { type MappingHost, WELL_KNOWN_PORTS } from "./port_mapping/router.ts";
import {
  CHECK_EVERY_MS,
  type ReadinessChange,
  ReadinessProbe,
  type Standing,
} from "./readiness.ts";
import { Reports } from "./reports.ts";
import { savedOf, seedsOf } from "./saved_contacts.ts";
import type {
  AddressPingReport,
  FetchOutcome,
  LookupReport,
  Measurements,
  NodeService,
  PeerDetail,
  PeerReport,
  PingReport,
  PublishedValue,
  Readiness,
  ReplicasOutcome,
  StatsReport,
  StoreOutcome,
  TraceStep,
} from "./service.ts";
import { LocalAddresses, SparePorts } from "./spare_sockets.ts";
import { StateLog } from "./state_log.ts";
import { UdpSocket } from "./udp.ts";
import { Values } from "./values.ts";
import type { Watch } from "./watch.ts";

/** The part of the configuration that a node itself needs. */
export type NodeConfig = Pick<
  Config,
  | "p2pHost"
  | "p2pPort"
  | "bootstrapNodes"
  | "bucketSize"
  | "alpha"
  | "maxPerSubnet"
  | "healthCheckIntervalMs"
  | "dataDir"
  | "storageLimit"
  | "nat"
  | "relay"
  | "allowNet"
>;

export interface LocalNodeOptions {
  /** False: nothing is read from or written to disk, and node id and identity are new. */
  readonly persistent: boolean;
  /** Called when all files and the socket are open, before any packet is handled. */
  readonly onOpened?: () => void | Promise<void>;
  /** Looks names up; the system's way unless told. */
  readonly resolve?: ResolveName;
  /** How often that is done again while there are no contacts; shorter in tests. */
  readonly resolveAloneMs?: number;
}

/** Names of bootstrap nodes and of `--allow-net` are looked up again this often: their addresses change. */
const RESOLVE_EVERY_MS = 5 * 60_000;

/** While there are no contacts they are looked up this often: a bootstrap node may have come back elsewhere. */
const RESOLVE_ALONE_MS = 20_000;

/** Whether a bootstrap node is this very node shows within this: its packets leave the machine never, or hardly. */
const OURSELVES_MS = 300;

/** Contacts that left within this are saved as well, so many at most: what they did is to count when they come back. */
const LEFT_SAVED_MS = 12 * 3_600_000, LEFT_SAVED = 200;

/** How often the contacts are saved, so that a crash costs few of them. */
const SAVE_EVERY_MS = 5 * 60_000;

/** The longest delay that setTimeout takes. */
const MAX_TIMER_MS = 2 ** 31 - 1;

interface Storage {
  readonly id: Id;
  readonly identity: Identity;
  readonly items: ItemStore;
  readonly published: PublishedStore;
  /** Undefined where nothing is kept. */
  readonly disk: DiskStorage | undefined;
}

export class LocalNode implements NodeService {
  readonly #log = getLogger(["dmnode", "node"]);
  readonly #config: NodeConfig;
  readonly #socket: UdpSocket;
  readonly #sparePorts: SparePorts;
  readonly #localAddresses = new LocalAddresses();
  readonly #filter: NetFilter;
  readonly #identity: Identity;
  readonly #disk: DiskStorage | undefined;
  readonly #items: ItemStore;
  readonly #published: PublishedStore;
  readonly #values: Values;
  /** Undefined where no router is to be asked. */
  readonly #mapping: PortMapping | undefined;
  readonly #node: DhtNode;
  readonly #startedAt = now();
  readonly #intervals: ReturnType<typeof setInterval>[] = [];
  readonly #listeners = new EventListeners();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAt = Infinity;
  #joined: "joining" | "joined" | "failed" = "joining";
  /** Whether no other node was named to it, nor remembered. */
  #isFirst = false;
  readonly #bootstrap: BootstrapNodes;
  #isResolving = false;
  /** The endpoints that the core was given last. */
  #joinsThrough = "";
  readonly #readiness: ReadinessProbe;
  readonly #history = new PeerHistory();
  readonly #reports: Reports;
  readonly #states = new StateLog();
  /** What was told of it last, as JSON. */
  #toldNat: string;
  /** Where offers to take a value are asked for: far from what this node holds. */
  readonly #probeTarget = randomId();
  #closed = false;
  readonly #resolve: ResolveName;

  /**
   * Binds the socket, opens DATA_DIR and starts to join. It resolves when packets are served; joining goes on.
   *
   * @throws {BindError} where the UDP port can't be had
   * @throws {StorageError} where DATA_DIR can't be used
   */
  static async start(config: NodeConfig, options: LocalNodeOptions): Promise<LocalNode> {
    const storage = options.persistent ? await openStorage(config) : newStorage(config);
    let node: LocalNode | undefined;
    try {
      node = new LocalNode(config, storage, options);
      // Until here it may take what its socket needs.
      await options.onOpened?.();
      await node.#start(storage, options);
      return node;
    } catch (error) {
      if (node !== undefined) await node.#socket.close();
      await storage.disk?.close();
      throw error;
    }
  }

  private constructor(
    config: NodeConfig,
    storage: Storage,
    { resolve = systemNames }: LocalNodeOptions,
  ) {
    this.#config = config;
    this.#resolve = resolve;
    this.#filter = new NetFilter(config.allowNet, resolve);
    this.#identity = storage.identity;
    this.#disk = storage.disk;
    this.#items = storage.items;
    this.#published = storage.published;
    const host = config.allowNet.mode === "loopback" ? "127.0.0.1" : config.p2pHost;
    this.#sparePorts = new SparePorts({
      host,
      receive: (datagram, from) => this.#receive(datagram, from),
      allows: (endpoint) => this.#filter.allows(endpoint),
    });
    this.#socket = UdpSocket.bind({
      host,
      port: config.p2pPort,
      inBatches: true,
      receive: (datagram, from) => this.#receive(datagram, from),
      onOverflow: () => this.#node.traffic.drop("send_queue_full"),
    });
    this.#mapping = this.#portMapping();
    this.#node = new DhtNode(this.#host(), {
      id: storage.id,
      k: config.bucketSize,
      alpha: config.alpha,
      perSubnet: config.maxPerSubnet,
      healthCheckIntervalMs: config.healthCheckIntervalMs,
      families: this.#socket.families,
      readOnly: false,
      nat: config.nat === "auto",
      relayRate: config.relay,
      client: CLIENT,
    }, this.#startedAt);
    this.#bootstrap = new BootstrapNodes({
      nodes: config.bootstrapNodes,
      families: this.#socket.families,
      resolve: this.#resolve,
      allows: (endpoint) => this.#filter.allows(endpoint),
      isOurselves: (endpoint) => this.#isOurselves(endpoint),
      now,
      log: this.#log,
    });
    this.#readiness = new ReadinessProbe({
      traffic: this.#node.traffic,
      contacts: () => this.#node.contacts(),
      ping: (endpoint) => this.#do((at) => this.#node.ping(endpoint, at, () => {})),
      seekOffers: (done) => this.#seekOffers(done),
      standing: () => this.#standing(),
      tell: (change, reason) => this.#tellReadiness(change, reason),
    });
    this.#values = new Values({
      core: this.#node,
      ask: (start) => this.#ask(start),
      identity: storage.identity,
      bucketSize: config.bucketSize,
      published: storage.published,
      seed: randomId().a,
      clock,
      log: this.#log,
      tell: (event) => this.#tell(event),
    });
    this.#reports = new Reports({
      core: this.#node,
      config,
      startedAt: this.#startedAt,
      publicKey: storage.identity.publicKey,
      address: this.address,
      items: storage.items,
      published: storage.published,
      disk: storage.disk,
      values: this.#values,
      history: this.#history,
      readiness: this.#readiness,
      mapping: this.#mapping,
      now,
    });
    this.#toldNat = natKey(this.#reports.nat());
  }

  /** Routers are asked by nodes that may talk to others than this machine, and are not told to leave that. */
  #portMapping(): PortMapping | undefined {
    const { nat, allowNet } = this.#config;
    if (nat === "off" || allowNet.mode === "loopback") return undefined;
    const host: MappingHost = {
      allows: (endpoint) => this.#filter.allows(endpoint),
      clock,
      random: Math.random,
      ports: WELL_KNOWN_PORTS,
    };
    return new PortMapping({
      host,
      network: new SystemNetwork(host, this.#socket.hostname),
      // The same after a restart, and nobody else's: then a PCP server gives us back what we had.
      nonce: this.#identity.sign(new TextEncoder().encode("PCP mapping nonce")).subarray(0, 12),
      log: getLogger(["dmnode", "mapping"]),
      onChange: (family, { status }) =>
        this.#do((at) => {
          this.#node.noteMapping(family, status === "mapped", at);
          // Also where it was mapped before: it is at another address now.
          if (status === "mapped") this.#node.recheckNat(at);
        }),
    });
  }

  #host(): Host {
    return {
      ...itemCrypto,
      items: this.#items,
      published: this.#published,
      randomBytes,
      send: (datagram, to) => {
        if (!this.#filter.allows(to)) this.#node.traffic.drop("not_allowed");
        else if (!this.#sparePorts.send(datagram, to)) this.#socket.send(datagram, to);
      },
      emit: (event) => this.#onEvent(event),
      isLocal: (endpoint) => this.#localAddresses.has(endpoint, now()),
      openSockets: (count, receive) =>
        this.#sparePorts.open(count, (index, datagram, from) => {
          receive(index, datagram, from, now());
          this.#arm();
        }),
    };
  }

  async #start({ disk }: Storage, options: LocalNodeOptions): Promise<void> {
    await this.#resolveScope();
    this.#socket.start();
    if (this.#socket.isInBatches) this.#log.info("Datagrams are taken and sent in batches");
    this.#mapping?.start(this.port, this.#socket.families);
    this.#every(RESOLVE_EVERY_MS, () => void this.#resolveAgain());
    if (disk !== undefined) this.#every(SAVE_EVERY_MS, () => this.#save());
    this.#every(options.resolveAloneMs ?? RESOLVE_ALONE_MS, () => void this.#resolveAlone());
    this.#reports.start((ms, run) => this.#every(ms, run));
    this.#every(CHECK_EVERY_MS, () => this.#checkState());
    const seeds = seedsOf(disk?.contacts ?? []);
    this.#isFirst = this.#bootstrap.isAlone && seeds.length === 0;
    void this.#join(seeds);
  }

  /** Names take their time to resolve: the node serves meanwhile. */
  async #join(seeds: readonly Seed[]): Promise<void> {
    if (this.#isResolving) return;
    this.#isResolving = true;
    const endpoints = await this.#bootstrap.resolve();
    this.#isResolving = false;
    if (this.#closed) return;
    if (this.#bootstrap.isAlone && seeds.length === 0 && this.#joined === "joining") {
      this.#isFirst = true;
    }
    // The core goes on trying by itself.
    if (seeds.length === 0 && endpoints.join() === this.#joinsThrough) return;
    this.#joinsThrough = endpoints.join();
    this.#do((at) => this.#node.join(endpoints, seeds, at));
  }

  /** Only at our own port can it be we: others are not asked. */
  async #isOurselves(endpoint: Endpoint): Promise<boolean> {
    if (endpoint.port !== this.port || !this.#filter.allows(endpoint)) return false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const answer = await Promise.race([
      this.#ask<PingResult>((at, done) => this.#node.ping(endpoint, at, done)),
      new Promise<void>((resolve) => timer = setTimeout(resolve, OURSELVES_MS)),
    ]);
    clearTimeout(timer);
    return typeof answer === "object" && answer.kind === "pong" && answer.id.equals(this.#node.id);
  }

  /** Saves what is to be kept and lets go of socket and files. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const interval of this.#intervals) clearInterval(interval);
    clearTimeout(this.#timer);
    this.#values.close();
    const unmapped = this.#mapping?.close();
    await this.#socket.close();
    await this.#sparePorts.close();
    this.#save();
    await this.#disk?.close();
    await unmapped;
  }

  get nodeId(): string {
    return this.#node.id.toString();
  }

  /** The bound UDP address, with the real port. */
  get address(): string {
    return this.#socket.address;
  }

  get port(): number {
    return this.#socket.port;
  }

  // ---- time and packets

  #receive(datagram: Uint8Array, from: Endpoint): void {
    if (!this.#filter.allows(from)) return this.#node.traffic.drop("not_allowed");
    try {
      this.#node.receive(datagram, from, now());
    } catch (error) {
      // No packet should ever lead here: it is a defect of ours, and not worth the other peers' service.
      this.#log.error("Failed on a packet from {from}: {error}", { from: `${from}`, error });
    }
    this.#arm();
  }

  /** Runs something on the core, which may have set a deadline. */
  #do<T>(run: (at: Millis) => T): T {
    const result = run(now());
    this.#arm();
    return result;
  }

  #arm(): void {
    const next = this.#node.nextDeadline;
    if (next >= this.#timerAt || this.#closed) return;
    clearTimeout(this.#timer);
    this.#timerAt = next;
    this.#timer = setTimeout(() => {
      this.#timerAt = Infinity;
      try {
        this.#node.tick(now());
      } catch (error) {
        this.#log.error("Failed in a timer: {error}", { error });
      }
      this.#arm();
    }, Math.min(MAX_TIMER_MS, Math.max(0, next - now())));
  }

  #every(ms: number, run: () => void): void {
    this.#intervals.push(setInterval(run, ms));
  }

  #onEvent(event: NodeEvent): void {
    if (event.type !== "nat" && !this.#listeners.isEmpty) {
      this.#tell(serviceEvent(event, (contact) => this.#reports.peerReport(contact)));
    }
    this.#reports.note(event);
    switch (event.type) {
      case "bootstrap":
        return this.#onBootstrap(event.state, event.contacts);
      case "id":
        this.#disk?.saveNodeId(event.id);
        return this.#log.info(
          "Peers see this node at {address}: its id is now {id}, which fits that (BEP 42); it was {former}",
          { id: `${event.id}`, former: `${event.former}`, address: event.address.host },
        );
      case "nat":
        return this.#onNat(event.state);
      case "peer.join":
        this.#history.note(event, now());
        return this.#log.debug("Peer {id} at {address} joined", describe(event.contact));
      case "peer.leave":
        this.#history.note(event, now());
        return this.#log.debug("Peer {id} at {address} left: {reason}", {
          ...describe(event.contact),
          reason: event.reason,
        });
      case "peer.health":
        this.#history.note(event, now());
        return this.#log.debug("Peer {id} at {address} is {to}: {reason}", {
          ...describe(event.contact),
          to: event.to,
          reason: event.reason,
        });
      case "data.store":
        this.#values.noteVersion(event.item);
        return this.#log.debug("Stored {hash} for {from}", {
          hash: event.item.target.toString(),
          from: event.from.toString(),
        });
    }
  }

  /** Tells the router's side what peers see, where it is not what the router said. */
  #compareMapping({ external, family, type, reachable }: NatState): void {
    const mapped = this.#mapping?.state(family).external;
    if (!mapped || !external || mapped.equals(external)) return;
    // The router has another address than when it was asked.
    if (!mapped.sameAddress(external)) this.#mapping!.recheck();
    else if (type === "endpoint_independent" && reachable === false) {
      this.#mapping!.prefer(family, external.port);
    }
  }

  #onNat(state: NatState): void {
    const { external, family, type, reachable, readOnly } = state;
    this.#compareMapping(state);
    const what = `${external?.host} ${type} ${reachable} ${readOnly}`;
    if (external === undefined || !this.#states.isDue(`nat ${family}`, what, now())) return;
    const text = natText(state);
    if (external.scope === "global") this.#log.info("{text}", { text });
    else this.#log.debug("{text}", { text });
  }

  #onBootstrap(state: "joined" | "failed", contacts: number): void {
    const before = this.#joined;
    this.#joined = state;
    if (state === "joined") {
      if (before !== "joined") {
        this.#log.info("Joined the network: {peers}", {
          peers: contacts === 1 ? "1 contact" : `${contacts} contacts`,
          contacts,
        });
      }
      // Not from within the core, which is in the middle of it.
      queueMicrotask(() => !this.#closed && this.#checkState());
    }
    if (this.#states.isDue("joining", state, now()) && state === "failed") {
      this.#log.warning(
        "No bootstrap node answered ({nodes}): trying again, ever more slowly, up to every 20 seconds",
        { nodes: this.#bootstrap.text },
      );
    }
  }

  // ---- names

  async #resolveScope(): Promise<void> {
    for (const name of await this.#filter.resolve()) {
      this.#log.warning("--allow-net: {name} has no address: nobody is allowed by it", { name });
    }
  }

  async #resolveAgain(): Promise<void> {
    await this.#resolveScope();
    // Where no name had an address at the start, saved contacts may have been enough to join.
    if (this.#bootstrap.unresolved.length > 0) await this.#join([]);
  }

  async #resolveAlone(): Promise<void> {
    if (this.#node.contactCount > 0 || this.#config.bootstrapNodes.length === 0) return;
    await this.#resolveScope();
    await this.#join([]);
  }

  // ---- what it tells

  peers(): PeerReport[] {
    return this.#reports.peers();
  }

  peer(id: string): PeerDetail | undefined {
    return this.#reports.peer(id);
  }

  distanceHistogram(): number[] {
    return this.#reports.distanceHistogram();
  }

  stats(): StatsReport {
    return this.#reports.stats();
  }

  measurements(): Measurements {
    return this.#reports.measurements();
  }

  pastHour(after: number): readonly HourSample[] {
    return this.#reports.pastHour(after);
  }

  /** Tells how the node stands with its network, where that is otherwise than it was. */
  #checkState(): void {
    this.#readiness.check(now());
    const nat = this.#reports.nat(), text = natKey(nat);
    if (text !== this.#toldNat) this.#tell({ type: "nat", nat });
    this.#toldNat = text;
  }

  #tell(event: ServiceEvent): void {
    this.#listeners.tell(event, now());
  }

  readiness(): Readiness {
    return this.#readiness.state(now());
  }

  #standing(): Standing {
    if (this.#isFirst) {
      const reason =
        "first node of its network: no other bootstrap nodes are configured, values are held here alone";
      return { isFirst: true, reason };
    }
    const { text, unresolved } = this.#bootstrap;
    if (unresolved.length > 0) {
      const reason = `no peer answers; bootstrap nodes without an address: ${
        unresolved.join(", ")
      }`;
      return { isFirst: false, reason };
    }
    const reason = this.#joined === "joining"
      ? "still joining the network"
      : `no peer answers; bootstrap nodes: ${text}`;
    return { isFirst: false, reason };
  }

  #seekOffers(done: (answered: number, offers: number) => void): void {
    this.#do((at) =>
      this.#node.get(this.#probeTarget, undefined, at, ({ closest }) => {
        done(closest.length, closest.filter(({ token }) => token !== undefined).length);
      })
    );
  }

  #tellReadiness(change: ReadinessChange, reason: string): void {
    const ready = change === "gained" || change === "regained";
    if (change !== "missing") this.#tell({ type: "ready", readiness: { ready, reason } });
    if (change === "gained") return; // joining has been told
    if (change === "regained") this.#log.info("Ready again: {reason}", { reason });
    else if (change === "lost") this.#log.warning("Not ready any more: {reason}", { reason });
    else this.#log.warning("Still not ready: {reason}", { reason });
  }

  #save(): void {
    const at = now();
    const known = Array.from(this.#node.contacts());
    // An outage must not cost the contacts of better days.
    if (!known.some((contact) => contact.isGood(at))) return;
    const left = this.#history.leftSince(at - LEFT_SAVED_MS).slice(0, LEFT_SAVED);
    this.#disk?.saveContacts([
      ...known.map((contact) => savedOf(contact, false)),
      ...left.map((contact) => savedOf(contact, true)),
    ]);
  }

  // ---- what it does

  async ping(id: string): Promise<PingReport> {
    const wanted = parseId(id);
    if (wanted.equals(this.#node.id)) {
      const self = { nodeId: id, address: this.address, rttMs: 0, health: "healthy" } as const;
      return { outcome: "pong", ...self, via: "direct" };
    }
    const result = await this.#ask<ReachResult>((at, done) => this.#node.reach(wanted, at, done));
    if (result.kind === "unknown") return { outcome: "unknown" };
    const address = result.endpoint.toString();
    if (result.kind === "timeout") return { outcome: "timeout", address };
    const health = this.#node.contact(wanted)?.health ?? "healthy";
    return { outcome: "pong", nodeId: id, address, rttMs: result.rtt, health, via: result.way };
  }

  async pingAddress(node: HostPort): Promise<AddressPingReport> {
    const { endpoints } = await resolveAll([node], this.#socket.families, this.#resolve);
    if (endpoints.length === 0) return { outcome: "no_address" };
    const endpoint = endpoints.find((candidate) => this.#filter.allows(candidate));
    if (endpoint === undefined) return { outcome: "not_allowed", address: `${endpoints[0]}` };
    const address = `${endpoint}`;
    const result = await this.#ask<PingResult>((at, done) => this.#node.ping(endpoint, at, done));
    if (result.kind === "timeout") return { outcome: "timeout", address };
    const health = this.#node.contact(result.id)?.health ?? "healthy";
    const nodeId = `${result.id}`;
    return { outcome: "pong", nodeId, address, rttMs: result.rtt, health, via: "direct" };
  }

  async find(id: string): Promise<LookupReport> {
    const target = parseId(id);
    const result = await this.#ask<FindResult>((at, done) => this.#node.find(target, at, done));
    const nodes = result.closest.slice(0, this.#config.bucketSize).map((candidate) => ({
      nodeId: candidate.id.toString(),
      address: candidate.endpoint.toString(),
      distance: distanceBits(candidate.id, target),
    }));
    return {
      target: id,
      found: target.equals(this.#node.id) || nodes[0]?.nodeId === id,
      nodes,
      hops: result.hops,
      queries: result.asked.length,
      elapsedMs: result.elapsed,
      trace: result.asked.map((candidate) => traceStep(candidate, result.startedAt)),
    };
  }

  store(...given: Parameters<NodeService["store"]>): Promise<StoreOutcome> {
    return this.#values.store(...given);
  }

  storeSigned(...given: Parameters<NodeService["storeSigned"]>): Promise<StoreOutcome> {
    return this.#values.storeSigned(...given);
  }

  published(offset: number, limit: number): { total: number; values: PublishedValue[] } {
    return this.#values.published(offset, limit);
  }

  forget(hash: string): boolean {
    return this.#values.forget(hash);
  }

  fetch(hash: string, key: string | null): Promise<FetchOutcome> {
    return this.#values.fetch(hash, key);
  }

  replicas(hash: string, key: string | null): Promise<ReplicasOutcome> {
    return this.#values.replicas(hash, key);
  }

  watch(hash: string, key: string | null, after: number | null): Watch | undefined {
    return this.#values.watch(hash, key, after);
  }

  transfers(): Progress[] {
    return this.#values.transfers();
  }

  onProgress(listener: (progress: Progress) => void): () => void {
    return this.#values.onProgress(listener);
  }

  onEvent(listener: EventListener): () => void {
    return this.#listeners.add(listener);
  }

  tellLookupSteps(isOn: boolean): void {
    this.#node.tellsSteps = isOn;
  }

  /** Starts an operation of the core and waits for its result. */
  #ask<T>(start: (at: Millis, done: (result: T) => void) => void): Promise<T> {
    return new Promise((resolve) => this.#do((at) => start(at, resolve)));
  }
}

/** Milliseconds since 1970 at the start, counted on by the monotonic clock: it never jumps. */
function now(): Millis {
  return performance.timeOrigin + performance.now();
}

const clock: Clock = {
  now,
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", end);
        resolve();
      };
      const timer = setTimeout(end, ms);
      signal.addEventListener("abort", end);
      if (signal.aborted) end();
    }),
};

function whyNotMade(error: unknown): string {
  if (error instanceof Deno.errors.AlreadyExists) return "is a file, no directory";
  if (error instanceof Deno.errors.NotADirectory) return "can't be made: it would lie in a file";
  if (error instanceof Deno.errors.PermissionDenied) return "can't be made: this user may not";
  const text = error instanceof Error ? error.message.split("\n")[0] : String(error);
  return /read-only/i.test(text)
    ? "can't be made: the file system is read-only"
    : `can't be made: ${text}`;
}

async function openStorage({ dataDir, storageLimit }: NodeConfig): Promise<Storage> {
  const log = getLogger(["dmnode", "storage"]);
  try {
    Deno.mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new StorageError(`DATA_DIR ${dataDir} ${whyNotMade(error)}`, { cause: error });
  }
  const identity = readIdentity(dataDir);
  const disk = await DiskStorage.open({
    worker: new Worker(new URL("./storage_worker.ts", import.meta.url), { type: "module" }),
    path: databasePath(dataDir),
    // The identity comes after the database: where it is there, that was complete once.
    mayBeEmpty: identity === undefined,
    limitBytes: storageLimit,
    now: now(),
    randomBytes,
    observer: {
      failed: (error) =>
        log.error("{reason}. Until then values are refused", {
          reason: error instanceof Error ? error.message : String(error),
        }),
      recovered: () => log.info("Values are stored again"),
    },
  });
  try {
    if (disk.damagedRows > 0) {
      log.warning("Values in {dataDir} are damaged, and are left out: {count}", {
        count: disk.damagedRows,
        dataDir,
      });
    }
    return {
      id: disk.nodeId,
      identity: identity ?? createIdentity(dataDir),
      items: disk.items,
      published: disk.published,
      disk,
    };
  } catch (error) {
    await disk.close();
    throw error;
  }
}

function newStorage({ storageLimit }: NodeConfig): Storage {
  const id = randomId();
  return {
    id,
    identity: Identity.generate(),
    items: new MemoryItemStore(id, storageLimit, randomId().a),
    published: new MemoryPublishedStore(randomId().a),
    disk: undefined,
  };
}

function randomBytes(length: number): Uint8Array<ArrayBuffer> {
  return crypto.getRandomValues(new Uint8Array(length));
}

function randomId(): Id {
  return Id.read(randomBytes(ID_BYTES));
}

function traceStep(candidate: Candidate, startedAt: Millis): TraceStep {
  const { state } = candidate;
  return {
    nodeId: candidate.id?.toString() ?? null,
    address: candidate.endpoint.toString(),
    hop: candidate.hop,
    startedMs: candidate.sentAt - startedAt,
    rttMs: Number.isNaN(candidate.rtt) ? null : candidate.rtt,
    outcome: state === "responded"
      ? "responded"
      : state !== "failed" && state !== "overdue"
      ? "pending"
      : Number.isNaN(candidate.rtt)
      ? "timeout"
      : "error",
  };
}

function describe(contact: Contact): Record<string, string> {
  return { id: contact.id.toString(), address: contact.endpoint.toString() };
}

/** What is told of as a change: all but the evidence, of which there is more with each vote. */
function natKey({ families, mapping, pinhole }: StatsReport["nat"]): string {
  const mapped = [mapping, pinhole].map((report) => [report?.status, report?.externalAddress]);
  return JSON.stringify([mapped, families.map(({ evidence: _, ...family }) => family)]);
}
