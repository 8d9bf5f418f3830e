// A node in this process: the core with real sockets, clock and disk, behind the NodeService interface.

import { getLogger } from "logtape";
import type { Config } from "../config.ts";
import type { NetworkKey } from "../config/network_key.ts";
import type { Millis } from "../dht/deadlines.ts";
import type { Host, NodeEvent } from "../dht/host.ts";
import type { NatState } from "../dht/nat/nat_state.ts";
import type { Drop } from "../dht/traffic.ts";
import { cidrIncludes } from "../krpc/address_range.ts";
import { countAsGlobal, Endpoint } from "../krpc/endpoint.ts";
import { hex } from "../krpc/hex.ts";
import type { NodeService } from "../node_service.ts";
import type { NodeStats } from "../reports/stats.ts";
import type { ServiceEvent } from "../reports/events.ts";
import type { Budget, TrafficReport } from "../reports/traffic.ts";
import { CLIENT, VERSION } from "../version.ts";
import { clock } from "./clock.ts";
import { CoreRunner } from "./core_runner.ts";
import { itemCrypto, randomBytes, randomId } from "./identity/crypto.ts";
import { Joining } from "./joining.ts";
import { Journal } from "./journal.ts";
import { type BeaconAddress, beaconAddresses } from "./net/beacon_sockets.ts";
import { Beacons } from "./net/beacons.ts";
import { DenyList } from "./net/deny_list.ts";
import { DeniedEntries } from "./net/denied_nodes.ts";
import { LocalAddresses } from "./net/local_addresses.ts";
import {
  PacketSeal,
  PROOF_ROTATION_MS,
  SEAL_BYTES,
  type SealDrop,
  TICK_MS,
} from "./net/packet_seal.ts";
import { NetFilter, type ResolveName, systemNames } from "./net/net_scope.ts";
import { SparePorts } from "./net/spare_sockets.ts";
import { NodeSockets } from "./net/node_sockets.ts";
import { memoryStorage, type OpenedStorage, openStorage } from "./opened_storage.ts";
import { PeerKeys } from "./peer_keys.ts";
import { PeerOperations } from "./peer_operations.ts";
import { SystemNetwork } from "./port_mapping/local_network.ts";
import { PortMapping } from "./port_mapping/port_mapping.ts";
import { WELL_KNOWN_PORTS } from "./port_mapping/router.ts";
import { Marks } from "./reports/marks.ts";
import { KeyMismatch } from "./reports/key_mismatch.ts";
import { PeerHistory } from "./reports/peer_history.ts";
import { CHECK_EVERY_MS, ReadinessProbe } from "./reports/readiness.ts";
import { Reports } from "./reports/reports.ts";
import { TrafficTotals } from "./reports/traffic_totals.ts";
import { savedOf, seedsOf } from "./saved_contacts.ts";
import { Unsent } from "./reports/unsent.ts";
import { SampleOperations } from "./sample_operations.ts";
import { SwarmOperations } from "./swarm_operations.ts";
import { Streams } from "./values/streams.ts";
import { Values } from "./values/values.ts";

export interface LocalNodeOptions {
  /** If false, the node uses no disk and starts with a new id and identity. */
  readonly persistent: boolean;
  /** Called once all files and the socket are open, before any packet is handled. */
  readonly onOpened?: () => void | Promise<void>;
  /** Returns how many log lines were dropped, and how long the log has been stalled. By default, both are 0. */
  readonly log?: () => NodeStats["log"];
  /** Looks up host names. The default is the system's resolver. */
  readonly resolve?: ResolveName;
  /** The interval at which names are looked up again while the node has no contacts. Tests set a shorter interval. */
  readonly resolveAloneMs?: number;
}

/** The limits on P2P traffic. */
export type TrafficLimits = Pick<Config, "p2pUpLimit" | "p2pDownLimit" | "p2pMonthlyBudget">;

/** The interval at which the names in `--allow-net`, and bootstrap nodes without an address, are looked up again. */
const RESOLVE_INTERVAL_MS = 5 * 60_000;

/**
 * The interval at which names are looked up again while the node has no contacts, because a bootstrap node may have
 * moved to another address.
 */
const RESOLVE_ALONE_INTERVAL_MS = 20_000;

/** The interval at which the contacts are saved, so that a crash loses few of them. */
const SAVE_INTERVAL_MS = 5 * 60_000;

/** The interval at which the state of the clock is saved. After a crash, node time continues from the saved state. */
const SAVE_CLOCK_INTERVAL_MS = 60_000;

/** The interval at which the totals of traffic are saved. A crash loses the traffic counted since the latest save. */
const SAVE_TRAFFIC_INTERVAL_MS = 60_000;

/** The interval at which traffic is added to the totals and compared with the budget. */
const NOTE_TRAFFIC_INTERVAL_MS = 5_000;

/**
 * The interval at which the node checks whether the system's clock has jumped. After a sleep, earlier write tokens stay
 * valid until the next check.
 */
const CHECK_CLOCK_INTERVAL_MS = 1_000;

/** The interval at which a few contacts are asked for their public keys. */
const ASK_KEYS_INTERVAL_MS = 2_000;

/** The delay before the contacts are saved, after the node has found its first contacts or has joined. */
const SAVE_SOON_MS = 3_000;

/** The interval at which the node checks how safe the published values are. */
const CHECK_VALUES_INTERVAL_MS = 10_000;

/** Contacts that left within this time are saved too, so that their track record is still known if they return. */
const SAVED_GONE_MS = 12 * 3_600_000;

const MAX_SAVED_GONE = 200;

export class LocalNode implements NodeService {
  readonly #config: Config;
  readonly #storage: OpenedStorage;
  readonly #filter: NetFilter;
  readonly #seal: PacketSeal | undefined;
  readonly #keyMismatch: KeyMismatch | undefined;
  readonly #unsent = new Unsent();
  /**
   * Proves the node's public key to peers. Undefined without a network key, because strangers need not know which
   * identity a node has.
   */
  readonly #peerKeys: PeerKeys | undefined;
  #beacons: Beacons | undefined;
  readonly #socket: NodeSockets;
  readonly #sparePorts: SparePorts;
  readonly #localAddresses = new LocalAddresses();
  readonly #core: CoreRunner;
  readonly #joining: Joining;
  readonly #operations: PeerOperations;
  readonly #mapping: PortMapping | undefined;
  readonly #values: Values;
  readonly #swarms: SwarmOperations;
  readonly #samples: SampleOperations;
  readonly #streams = new Streams();
  readonly #denied: DeniedEntries;
  readonly #readiness: ReadinessProbe;
  readonly #history = new PeerHistory();
  readonly #reports: Reports;
  readonly #marks: Marks;
  readonly #journal: Journal;
  readonly #totals: TrafficTotals;
  #limits: TrafficLimits;
  #isBudgetSpent = false;
  readonly #intervals: ReturnType<typeof setInterval>[] = [];
  /** Readiness probes ask the peers near this random target whether they would store a value. */
  readonly #probeTarget = randomId();
  #closed = false;
  #hasSavedContacts = false;
  #savingSoon: ReturnType<typeof setTimeout> | undefined;

  /** Resolves once the node serves packets, even if it is still joining. Throws a BindError or a StorageError. */
  static async start(config: Config, options: LocalNodeOptions): Promise<LocalNode> {
    const storage = options.persistent ? await openStorage(config) : memoryStorage(config);
    let node: LocalNode | undefined;
    try {
      // Look up `node` at each call: the node does not exist yet when the seal gets this function.
      const drop = (...given: Parameters<LocalNode["noteSealDrop"]>) =>
        node?.noteSealDrop(...given);
      const seal = config.networkKeys.length === 0
        ? undefined
        : await PacketSeal.create(config.networkKeys, { drop });
      const { resolve = systemNames, log = () => ({ dropped: 0, stalled_s: 0 }) } = options;
      node = new LocalNode(config, storage, { seal, resolve, log });
      // Call this last: the callback may give up permissions that the node needed only until now.
      await options.onOpened?.();
      await node.#start(options);
      return node;
    } catch (error) {
      if (node !== undefined) await node.#socket.close();
      await storage.disk?.close();
      throw error;
    }
  }

  private constructor(
    config: Config,
    storage: OpenedStorage,
    { seal, resolve, log }: Required<Pick<LocalNodeOptions, "resolve" | "log">> & {
      readonly seal: PacketSeal | undefined;
    },
  ) {
    this.#config = this.#limits = config;
    this.#seal = seal;
    this.#storage = storage;
    // Without test networks, don't change this setting, because all nodes of the process share it.
    if (config.testNetworks.length > 0) {
      countAsGlobal((address) => testNetworks.some((range) => cidrIncludes(range, address)));
    }
    const { bootstrapNodes, bucketSize, testNetworks } = config,
      { identity, published, blobs } = storage;
    const filter = this.#filter = new NetFilter(config.allowNet, resolve);
    const host = config.allowNet.mode === "loopback" ? "127.0.0.1" : config.p2pHost;
    const interfaceName = config.p2pInterface ?? undefined;
    const receive = (datagram: Uint8Array, from: Endpoint) => this.#core.receive(datagram, from);
    const allows = (endpoint: Endpoint, received?: number) => this.#allows(endpoint, received);
    const sockets = this.#socket = NodeSockets.bind({
      host,
      interfaceName,
      port: config.p2pPort,
      inBatches: config.udpBatches === "auto",
      allows,
      seal,
      receive,
      onReceive: (waitedMs) => this.#core.noteReceive(waitedMs),
      onOverflow: () => this.#core.node.traffic.drop("send_queue_full"),
      onRefused: (error, to) => this.#noteUnsent(error, to),
    });
    for (const { host } of bootstrapNodes) {
      const [address, zone] = host.split("%");
      if (zone !== undefined) sockets.setZone(Endpoint.parse(address, 0)!.host, zone);
    }
    this.#sparePorts = new SparePorts({
      host,
      interfaceName,
      onlyFamily: sockets.isSeparate ? 4 : undefined,
      receive,
      allows,
      seal,
    });
    const { families, port, address } = sockets;
    this.#mapping = this.#createMapping();
    const core = this.#core = this.#createCore();
    const isSealed = seal !== undefined;
    this.#totals = new TrafficTotals(core.node.traffic.usage, storage.records);
    this.#peerKeys = isSealed
      ? new PeerKeys({
        core,
        identity,
        isOwn: (endpoint) => this.#isOwnEndpoint(endpoint),
        onProven: (key) => this.#denyAgain(key),
      })
      : undefined;
    this.#joining = new Joining({
      core,
      bootstrapNodes,
      families,
      port,
      filter,
      resolve,
      isSealed,
      unsent: () => this.#unsent.latest(storage.clock.now()),
    });
    this.#keyMismatch = isSealed
      ? new KeyMismatch((from) => this.#joining.isBootstrap(from))
      : undefined;
    this.#operations = new PeerOperations({
      core,
      bucketSize,
      address,
      families,
      filter,
      resolve,
      join: (endpoint) => this.#joining.connect(endpoint),
    });
    const publicKey = hex(identity.publicKey);
    this.#denied = new DeniedEntries({
      records: storage.records,
      onChange: (entries) => {
        filter.denied = new DenyList(entries);
        this.#applyDenyList();
      },
      isOwn: (idOrKey) => idOrKey === this.nodeId || idOrKey === publicKey,
    });
    this.#readiness = this.#createReadiness();
    const tell = (event: ServiceEvent) => this.#journal.tell(event);
    this.#marks = new Marks(storage.records);
    this.#values = new Values({
      core,
      records: storage.records,
      identity,
      bucketSize,
      maxValueSize: config.maxValueSize,
      published,
      blobs,
      tell,
    });
    const bound = { host: this.#socket.hostname, port };
    this.#swarms = new SwarmOperations({ core, disk: storage.disk, bound, tell });
    this.#samples = new SampleOperations(core);
    this.#reports = new Reports({
      ...storage,
      core: core.node,
      config,
      startedAt: storage.clock.now(),
      publicKey: identity.publicKey,
      addresses: () => sockets.addresses,
      publications: this.#values.publications,
      history: this.#history,
      readiness: this.#readiness,
      budget: () => this.#budget(),
      mapping: this.#mapping,
      keyMismatch: this.#keyMismatch,
      unsent: this.#unsent,
      log,
      keyOf: (contact) => this.#peerKeys?.keyOf(contact) ?? null,
      marks: this.#marks,
    });
    this.#journal = new Journal({
      bootstrapNodes: this.#joining.nodesText,
      nat: this.#reports.nat(),
      peerReport: (contact) => this.#reports.peers.peer(contact),
      onRare: (event, at) => this.#marks.note(event, at),
    });
  }

  #createCore(): CoreRunner {
    const { items, published, id, isNewId } = this.#storage;
    const { bucketSize: k, alpha, maxPerSubnet: perSubnet, relay: relayRate } = this.#config;
    const { healthCheckIntervalMs, nat, allowNet, readOnly, p2pExternal } = this.#config,
      { families } = this.#socket;
    const host: Omit<Host, "emit"> = {
      ...itemCrypto,
      items,
      published,
      randomBytes,
      send: (datagram, to) => {
        if (this.#allows(to) && !this.#sparePorts.send(datagram, to)) {
          this.#socket.send(datagram, to);
        }
      },
      ...(this.#seal === undefined ? {} : { prove: (...given) => this.#peerKeys?.prove(...given) }),
      isLocal: (endpoint) =>
        this.#socket.has(endpoint) || this.#localAddresses.has(endpoint, clock.now()),
      openSockets: (count, receive) =>
        this.#sparePorts.open(count, (index, datagram, from) => {
          this.#core.do((at) => receive(index, datagram, from, at));
        }),
    };
    // A network without strangers needs no limits that keep one source from filling the store.
    const isPrivate = allowNet.mode === "list" || this.#seal !== undefined;
    const settings = {
      k,
      alpha,
      isPrivate,
      perSubnet,
      healthCheckIntervalMs,
      relayRate,
      externalPort: p2pExternal[0]?.port,
      sealBytes: this.#seal === undefined ? 0 : SEAL_BYTES,
      nat: nat === "auto",
    };
    const node = { id, isNewId, families, readOnly, client: CLIENT, ...settings };
    const { clock: nodeClock } = this.#storage;
    return new CoreRunner({
      host,
      node,
      clock: nodeClock,
      onEvent: (event) => this.#onEvent(event),
    });
  }

  #createReadiness(): ReadinessProbe {
    const { node } = this.#core;
    return new ReadinessProbe({
      traffic: node.traffic,
      contacts: () => node.tables.contacts(),
      isCheckedOften: ({ client }) => node.self.isSameSoftware(client),
      ping: (endpoint) => this.#core.do((at) => node.ping(endpoint, at, () => {})),
      seekOffers: (done) =>
        this.#core.do((at) =>
          node.items.get({ target: this.#probeTarget, purpose: "upkeep" }, at, ({ closest }) => {
            done(closest.length, closest.filter(({ token }) => token !== undefined).length);
          })
        ),
      standing: () => this.#joining.standing(),
      tell: (change, reason) => this.#journal.noteReadiness(change, reason),
    });
  }

  /** Creates the port mapping. Returns undefined if the settings turn it off, or make it useless. */
  #createMapping(): PortMapping | undefined {
    const { nat, allowNet, readOnly, p2pExternal, p2pInterface } = this.#config;
    if (readOnly || nat === "off" || allowNet.mode === "loopback") return undefined;
    // Map no port with P2P_INTERFACE, since the node might ask the router of another network, or with P2P_EXTERNAL,
    // since the user has forwarded a port.
    if (p2pInterface !== null || p2pExternal.length > 0) return undefined;
    const allows = (endpoint: Endpoint) => this.#filter.allows(endpoint);
    const host = {
      allows,
      clock: this.#storage.clock,
      random: Math.random,
      ports: WELL_KNOWN_PORTS,
    };
    return new PortMapping({
      host,
      network: new SystemNetwork(host, this.#socket.hostname),
      // The nonce is derived from the identity, so that a PCP server recognizes this node and its mapping after a
      // restart.
      nonce: this.#storage.identity.sign(new TextEncoder().encode("PCP mapping nonce")).subarray(
        0,
        12,
      ),
      log: getLogger(["dmnode", "mapping"]),
      onChange: (family, { status, lease }) =>
        this.#core.do((at) => {
          const { nats } = this.#core.node;
          nats[family]?.noteMapping(status === "mapped" ? lease?.external : undefined, at);
          // Check reachability again, as the mapping may have a new address.
          if (status === "mapped") { for (const nat of Object.values(nats)) nat.recheck(at); }
        }),
    });
  }

  async #start({ resolveAloneMs = RESOLVE_ALONE_INTERVAL_MS }: LocalNodeOptions): Promise<void> {
    const { disk } = this.#storage, joining = this.#joining;
    this.deny(this.#config.denied);
    this.limitTraffic(this.#config);
    await joining.resolveScope();
    this.#socket.start();
    const log = getLogger(["dmnode", "node"]);
    if (this.#seal !== undefined) {
      const keys = this.#config.networkKeys.length === 1 ? "the network key" : "two network keys";
      log.info("Only nodes with {keys} can talk to this one", { keys });
    }
    if (this.#socket.isSeparate) {
      log.info("net.ipv6.bindv6only is set on this machine: IPv4 and IPv6 have a socket each");
    }
    if (this.#socket.isUninformed) {
      log.info(
        "Deno's permission --allow-sys=networkInterfaces is missing: if this machine has several addresses, the node " +
          "may answer from a different address than the one that was asked",
      );
    }
    if (this.#socket.isInBatches) {
      log.info("Datagrams are received and sent in batches");
    }
    this.#mapping?.start(this.port, this.#socket.families);
    this.#every(RESOLVE_INTERVAL_MS, () => void joining.resolveMissing());
    if (disk !== undefined) {
      // The core goes on after commits and reads. Deliver its events, and set the timer for its queries.
      disk.onSettled = () => this.#core.do(() => {});
      this.#every(SAVE_INTERVAL_MS, () => this.#saveContacts());
      this.#every(SAVE_CLOCK_INTERVAL_MS, () => this.#saveClock());
      this.#every(SAVE_TRAFFIC_INTERVAL_MS, () => this.#saveTraffic());
      this.#saveClock();
    }
    const seal = this.#seal;
    if (seal !== undefined) {
      this.#every(PROOF_ROTATION_MS, () => seal.rotateSecret());
      this.#every(TICK_MS, () => seal.tick());
    }
    this.#every(CHECK_CLOCK_INTERVAL_MS, () => this.#checkClock());
    const peerKeys = this.#peerKeys;
    if (peerKeys !== undefined) {
      this.#every(ASK_KEYS_INTERVAL_MS, () => this.#core.do((at) => peerKeys.ask(at)));
    }
    this.#every(NOTE_TRAFFIC_INTERVAL_MS, () => this.#noteTraffic());
    this.#every(CHECK_VALUES_INTERVAL_MS, () => this.#checkValues());
    if (!this.#storage.clock.isShortStop) this.#core.do((at) => this.#core.node.catchUp(at));
    this.#every(resolveAloneMs, () => void joining.resolveIfAlone());
    this.#marks.start(VERSION, Date.now());
    this.#reports.start((ms, run) => this.#every(ms, run));
    this.#every(CHECK_EVERY_MS, () => this.#checkState());
    for (const { host, port } of this.#config.p2pExternal) {
      const external = Endpoint.parse(host, port)!;
      this.#core.do((at) => this.#core.node.nats[external.family]?.noteMapping(external, at));
    }
    this.#swarms.start();
    this.#beacons = await this.#startBeacons();
    joining.start(seedsOf(disk?.contacts ?? []));
  }

  /**
   * Starts to send and receive beacons. Returns undefined without a network key, or if the settings rule out beacons.
   */
  #startBeacons(): Promise<Beacons> | undefined {
    const { networkKeys: keys, beacons, allowNet, p2pInterface, readOnly: isSilent } = this.#config,
      { hostname, port, families } = this.#socket;
    const isOff = beacons === "off" || allowNet.mode === "loopback" || p2pInterface !== null;
    if (keys.length === 0 || isOff) return undefined;
    const isForAll = hostname === "::" || hostname === "0.0.0.0";
    const isBound = ({ host }: BeaconAddress) => isForAll || host.split("%")[0] === hostname;
    const addresses = () =>
      beaconAddresses().filter((own) => families.includes(own.family) && isBound(own));
    return Beacons.start({
      keys,
      port,
      isSilent,
      addresses,
      allows: (endpoint) => this.#filter.allows(endpoint),
      now: () => this.#storage.clock.now(),
      onNode: (endpoint, interfaceName) => {
        const { host } = endpoint;
        const isThisNode = endpoint.port === port &&
          addresses().some((own) => own.host.split("%")[0] === host);
        if (isThisNode || this.#closed) return;
        if (interfaceName !== undefined && endpoint.isLinkLocal) {
          this.#socket.setZone(host, interfaceName);
        }
        this.#joining.meet(endpoint);
      },
    });
  }

  #every(ms: number, run: () => void): void {
    this.#intervals.push(setInterval(run, ms));
  }

  /**
   * Saves the contacts, the clock and the totals of traffic. Releases port mappings, and closes the sockets and files.
   */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#storage.clock.check();
    this.#closed = true;
    for (const interval of this.#intervals) clearInterval(interval);
    clearTimeout(this.#savingSoon);
    this.#beacons?.close();
    this.#joining.close();
    this.#core.close();
    this.#values.close();
    const unmapped = this.#mapping?.close();
    await this.#socket.close();
    await this.#sparePorts.close();
    this.#saveContacts();
    this.#saveClock();
    this.#saveTraffic();
    await this.#storage.disk?.close();
    await unmapped;
  }

  get nodeId(): string {
    return `${this.#core.node.id}`;
  }

  /** The bound UDP address, with the port that the system chose if P2P_PORT is 0. */
  get address(): string {
    return this.#socket.address;
  }

  get port(): number {
    return this.#socket.port;
  }

  /**
   * Whether the settings allow packets from and to an address. Counts the packets that they don't
   * allow. `received`: the bytes of a packet that has arrived.
   */
  #allows(endpoint: Endpoint, received?: number): boolean {
    if (this.#filter.allows(endpoint)) return true;
    const reason = this.#filter.denied.has(endpoint) ? "denied" : "not_allowed";
    if (received === undefined) this.#core.node.traffic.drop(reason);
    else this.#refuse(reason, received, endpoint);
    return false;
  }

  /**
   * Counts a packet of `bytes` that arrived and does not reach the core. Returns the current time, so that the caller
   * need not read the clock again.
   */
  #refuse(reason: Drop, bytes: number, from: Endpoint): Millis {
    const { node } = this.#core, { usage } = node.traffic, now = this.#storage.clock.now();
    node.refuse(reason, from, now);
    usage.noteReceived("other", Math.max(0, bytes - usage.sealBytes), from.family);
    return now;
  }

  /** Counts a packet that the system refused to send. */
  #noteUnsent(error: unknown, to: Endpoint): void {
    this.#core.node.traffic.drop("not_sent");
    this.#journal.noteUnsent(this.#unsent.note(error, to, this.#storage.clock.now()), to.family);
  }

  /** Counts a packet that was not sealed for this node. Called by the seal. */
  noteSealDrop(reason: SealDrop, packet: Uint8Array, from: Endpoint): void {
    const now = this.#refuse(reason, packet.length, from);
    if (reason !== "undecipherable") return;
    const line = this.#keyMismatch!.note(packet, from, now);
    if (line !== undefined) this.#journal.noteKeyMismatch(line);
  }

  /** Changes the network keys of a node that was started with one. */
  setNetworkKeys(keys: readonly NetworkKey[]): void {
    this.#seal?.setKeys(keys);
    this.#beacons?.setKeys(keys);
  }

  /** Replaces the entries of the file DENY_LIST. From now on, drops packets from these addresses, ids and keys. */
  deny(entries: readonly string[]): void {
    this.#denied.setFile(entries);
  }

  /** Drops a peer that has just proven a key, if the key is denied. */
  #denyAgain(key: string): void {
    // Wait until the core has handled the current packet.
    if (this.#filter.denied.keys.has(key)) queueMicrotask(() => this.#applyDenyList());
  }

  #applyDenyList(): void {
    const { denied } = this.#filter;
    const nodes = new Set([...denied.ids, ...this.#peerKeys?.nodesOf(denied.keys) ?? []]);
    this.#core.do((at) => this.#core.node.deny(nodes, (address) => denied.has(address), at));
  }

  /** Whether other nodes may receive this node's packets from this endpoint. */
  #isOwnEndpoint(endpoint: Endpoint): boolean {
    if (this.#core.node.ownEndpoint(endpoint.family)?.equals(endpoint)) return true;
    return endpoint.port === this.port && this.#localAddresses.has(endpoint, clock.now());
  }

  #onEvent(event: NodeEvent): void {
    this.#reports.pastHour.note(event);
    this.#history.note(event, this.#storage.clock.now());
    this.#journal.note(event);
    switch (event.type) {
      case "peer.join":
        if (!this.#hasSavedContacts) this.#saveContactsSoon();
        return;
      case "bootstrap":
        this.#joining.note(event);
        if (event.state === "joined") this.#saveContactsSoon();
        if (event.state === "joined" && !this.#closed) this.#checkState();
        return;
      case "id":
        this.#marks.changeId(Date.now());
        return this.#storage.disk?.saveNodeId(event.id);
      case "nat":
        return this.#compareMapping(event.state);
      case "announce":
        return this.#swarms.note(event.announcement);
      case "data.adopt":
      case "data.store":
      case "watch.version":
        return this.#values.noteVersion(event.item);
      case "watch.read":
        return this.#values.watches.noteNewer(`${event.target}`);
    }
  }

  /** Rechecks or moves the port mapping if peers see an address other than the one that the router reported. */
  #compareMapping({ external, family, type, reachable }: NatState): void {
    const mapped = this.#mapping?.state(family).lease?.external;
    if (!mapped || !external || mapped.equals(external)) return;
    // If the hosts differ, the router's external address has changed since the router last reported it.
    if (!mapped.sameAddress(external)) this.#mapping!.recheck();
    else if (type === "endpoint_independent" && reachable === false) {
      this.#mapping!.prefer(family, external.port);
    }
  }

  /** Reports changes of the node's readiness and of its NAT, and nodes that MAX_PER_SUBNET keeps out. */
  #checkState(): void {
    const now = this.#storage.clock.now();
    this.#readiness.check(now);
    this.#journal.noteLeftOut(this.#reports.leftOut(now), this.#core.node.tables.size);
    this.#journal.noteNat(this.#reports.nat());
  }

  /** After a jump of the system's clock or a sleep, catches up with the network. */
  #checkClock(): void {
    const jumpMs = this.#storage.clock.check();
    if (jumpMs === undefined) return;
    this.#journal.noteJump(jumpMs);
    this.#core.do((at) => this.#core.node.catchUp(at));
    this.#mapping?.recheck();
    this.#saveClock();
  }

  /**
   * Reports published values whose state has changed, updates the log of publications, and fetches new versions of
   * pinned values.
   */
  #checkValues(): void {
    this.#journal.noteValues(this.#values.publications.changes());
    this.#values.followPublications();
    void this.#values.pins.follow();
  }

  #noteTraffic(): void {
    const { clock } = this.#storage;
    this.#totals.note(clock.wall(clock.now()));
    const budget = this.#budget(), isSpent = budget?.read_only ?? false;
    if (isSpent === this.#isBudgetSpent) return;
    this.#isBudgetSpent = isSpent;
    this.#core.do((at) => this.#core.node.forceReadOnly(isSpent, at));
    this.#journal.noteBudget({
      isSpent,
      used: this.#totals.monthBytes,
      bytes: budget?.bytes ?? null,
    });
  }

  #budget(): Budget | null {
    const bytes = this.#limits.p2pMonthlyBudget;
    return bytes === null ? null : this.#totals.budget(bytes);
  }

  /** Changes the limits on P2P traffic. */
  limitTraffic(limits: TrafficLimits): void {
    this.#limits = limits;
    const { p2pUpLimit: up, p2pDownLimit: down } = limits;
    this.#core.node.traffic.usage.line.set({ up: up ?? undefined, down: down ?? undefined });
    this.#noteTraffic();
  }

  #saveTraffic(): void {
    this.#noteTraffic();
    this.#totals.save();
  }

  #trafficReport(): TrafficReport {
    this.#noteTraffic();
    const { p2pUpLimit: up, p2pDownLimit: down } = this.#limits;
    return { ...this.#totals.report(), limits: { up, down }, budget: this.#budget() };
  }

  #saveClock(): void {
    this.#storage.disk?.saveClock(this.#storage.clock.saved());
  }

  #saveContactsSoon(): void {
    if (this.#closed) return;
    this.#savingSoon ??= setTimeout(() => {
      this.#savingSoon = undefined;
      this.#saveContacts();
    }, SAVE_SOON_MS);
  }

  #saveContacts(): void {
    const at = this.#storage.clock.now();
    const present = Array.from(this.#core.node.tables.contacts());
    // During an outage, don't overwrite the contacts that were saved before the outage.
    if (!present.some((contact) => contact.isGood(at))) return;
    const gone = this.#history.leftSince(at - SAVED_GONE_MS).slice(0, MAX_SAVED_GONE);
    this.#hasSavedContacts = true;
    this.#storage.disk?.saveContacts([
      ...present.map((contact) => savedOf(contact, false)),
      ...gone.map((contact) => savedOf(contact, true)),
    ]);
  }

  readonly peers: NodeService["peers"] = (selection) =>
    Promise.resolve(this.#reports.peers.list(selection));
  readonly peer: NodeService["peer"] = (id) => Promise.resolve(this.#reports.peers.detail(id));
  readonly stats: NodeService["stats"] = () => Promise.resolve(this.#reports.stats());
  readonly measurements = () => Promise.resolve(this.#reports.measurements());
  readonly history: NodeService["history"] = (after, range = "hour") =>
    Promise.resolve(this.#reports.history(after, range));
  readonly threats: NodeService["threats"] = () => Promise.resolve(this.#reports.threats.report());
  readonly traffic: NodeService["traffic"] = () => Promise.resolve(this.#trafficReport());
  readonly readiness = () => Promise.resolve(this.#readiness.state(this.#storage.clock.now()));
  readonly ping: NodeService["ping"] = (id) => this.#operations.ping(id);
  readonly pingAddress: NodeService["pingAddress"] = (to) => this.#operations.pingAddress(to);
  readonly connect: NodeService["connect"] = (to) => this.#operations.connect(to);
  readonly denied: NodeService["denied"] = () => Promise.resolve(this.#denied.report());
  readonly denyEntry: NodeService["denyEntry"] = (entry) => this.#denied.add(entry);
  readonly allowEntry: NodeService["allowEntry"] = (entry) => this.#denied.remove(entry);
  readonly find: NodeService["find"] = (id) => this.#operations.find(id);
  readonly store = (...given: Parameters<Values["store"]>) => this.#values.store(...given);
  readonly openUpload: NodeService["openUpload"] = (key, options) =>
    Promise.resolve(
      this.#streams.openUpload((bytes) => this.#values.store(bytes, key, options)),
    );
  readonly write: NodeService["write"] = (upload, bytes) => this.#streams.write(upload, bytes);
  readonly finishUpload = (upload: number) => this.#streams.finishUpload(upload);
  readonly closeUpload: NodeService["closeUpload"] = (upload) => this.#streams.closeUpload(upload);
  readonly storeSigned: NodeService["storeSigned"] = (...given) =>
    this.#values.storeSigned(...given);
  readonly publishMagnet: NodeService["publishMagnet"] = (request) =>
    this.#values.publishMagnet(request);
  readonly resolveMagnet: NodeService["resolveMagnet"] = (magnet) =>
    this.#values.resolveMagnet(magnet);
  readonly published: NodeService["published"] = (...page) =>
    Promise.resolve(this.#values.published(...page));
  readonly publishedValue: NodeService["publishedValue"] = (hash) =>
    Promise.resolve(this.#values.publishedValue(hash));
  readonly holders = () => Promise.resolve(this.#values.holders());
  readonly pin: NodeService["pin"] = (request) => this.#values.pins.pin(request);
  readonly unpin: NodeService["unpin"] = (hash) => this.#values.pins.unpin(hash);
  readonly pins: NodeService["pins"] = (...page) => Promise.resolve(this.#values.listPins(...page));
  readonly held: NodeService["held"] = (limit) => Promise.resolve(this.#reports.held(limit));
  readonly publishNow: NodeService["publishNow"] = (hash) =>
    Promise.resolve(this.#values.publishNow(hash));
  readonly forget: NodeService["forget"] = (hash) => this.#values.forget(hash);
  readonly fetch: NodeService["fetch"] = (hash, key) => this.#values.fetch(hash, key);
  readonly openDownload: NodeService["openDownload"] = (value, start, end) =>
    Promise.resolve(
      this.#streams.openDownload((signal) =>
        this.#values.reader.read(value, { start, end }, signal)
      ),
    );
  readonly readDownload = (download: number) => this.#streams.readDownload(download);
  readonly closeDownload = (download: number) => this.#streams.closeDownload(download);
  readonly replicas: NodeService["replicas"] = (hash, key) => this.#values.countReplicas(hash, key);
  readonly openWatch: NodeService["openWatch"] = (...version) => {
    const watch = this.#values.watches.open(...version);
    return Promise.resolve(watch && this.#streams.openWatch(watch));
  };
  readonly nextVersion = (watch: number, ms: number) => this.#streams.nextVersion(watch, ms);
  readonly closeWatch: NodeService["closeWatch"] = (watch) => this.#streams.closeWatch(watch);
  readonly findPeers: NodeService["findPeers"] = (...given) => this.#swarms.findPeers(...given);
  readonly openPeerSearch: NodeService["openPeerSearch"] = (...given) =>
    this.#swarms.openPeerSearch(...given);
  readonly nextPeers: NodeService["nextPeers"] = (...given) => this.#swarms.nextPeers(...given);
  readonly closePeerSearch = (search: number) => this.#swarms.closePeerSearch(search);
  readonly announce: NodeService["announce"] = (...given) => this.#swarms.announce(...given);
  readonly withdraw: NodeService["withdraw"] = (swarm) => this.#swarms.withdraw(swarm);
  readonly swarms = () => this.#swarms.swarms();
  readonly sampleNode = (id: string) => this.#samples.sampleNode(id);
  readonly sampleNetwork = (queries: number) => this.#samples.sampleNetwork(queries);
  readonly transfers: NodeService["transfers"] = () => Promise.resolve(this.#values.transfers());
  readonly onEvent: NodeService["onEvent"] = (listener) => this.#journal.listen(listener);
  readonly tellLookupSteps: NodeService["tellLookupSteps"] = (isOn) => {
    this.#core.node.searches.reportsSteps = isOn;
    return Promise.resolve();
  };
}
