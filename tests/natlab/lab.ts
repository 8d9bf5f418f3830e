// A laboratory for NATs: network namespaces with a public segment, routers of every kind, and hosts behind them.
// The laboratory has no connection to the machine's own network. Needs root, iproute2,
// nftables, python3, miniupnpd and curl.

import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type LogLine, NodeProcess } from "../program/program.ts";

/** The kinds of connections to the Internet. */
export const KINDS = [
  "public",
  "full-cone",
  "restricted",
  "port-restricted",
  "linux",
  "linux-random",
  "symmetric",
  "double",
  "short-timeout",
  "firewall",
] as const;

export type Kind = typeof KINDS[number];

/** Terms of RFC 4787: endpoint-independent, address-dependent, address- and port-dependent. */
type Dependence = "ei" | "ad" | "apd";

interface UserSpaceNat {
  readonly mapping: Dependence;
  readonly filtering: Dependence;
  readonly ports: "preserve" | "random";
  readonly timeout?: number;
  readonly hairpin?: boolean;
  readonly delay?: number;
}

/** NATs that Linux doesn't offer run in user space (nat.py). Most change the port of a packet. */
const USER_SPACE: Partial<Record<Kind, UserSpaceNat>> = {
  "full-cone": { mapping: "ei", filtering: "ei", ports: "random" },
  "restricted": { mapping: "ei", filtering: "ad", ports: "random" },
  "port-restricted": { mapping: "ei", filtering: "apd", ports: "random" },
  "symmetric": { mapping: "apd", filtering: "apd", ports: "random" },
  "short-timeout": { mapping: "ei", filtering: "apd", ports: "preserve", timeout: 30 },
};

/** A carrier's NAT, as RFC 6888 requires it. */
const CARRIER: UserSpaceNat = { mapping: "ei", filtering: "apd", ports: "random" };

/** A network namespace that stands for a machine. */
export class Machine {
  constructor(readonly lab: Lab, readonly ns: string, readonly address: string) {}

  /** Runs a program on the machine until it ends. Fails if the program fails. */
  run(...command: string[]): Promise<string> {
    return execute("ip", "netns", "exec", this.ns, ...command);
  }

  /** Runs a program that may fail, for example by a time limit. Returns its output. */
  async printed(...command: string[]): Promise<string> {
    const { stdout } = await new Deno.Command("ip", {
      args: ["netns", "exec", this.ns, ...command],
      stdin: "null",
      stderr: "null",
    }).output();
    return new TextDecoder().decode(stdout);
  }

  /** Starts a node on the machine, and waits until it serves its API. */
  start(args: readonly string[] = []): Promise<Node> {
    return this.lab.startNode(this, args);
  }
}

/** A router: its namespace, and the network behind it. */
export interface Site {
  readonly kind: Kind;
  readonly router: Machine;
  /** The address that the Internet sees for packets from behind the router. */
  readonly external: string;
  readonly hosts: readonly Machine[];
}

/** The parts of `GET /network/stats` that the tests read. */
// deno-lint-ignore no-explicit-any
export type Stats = any;

/** A dmnode process on a machine of the laboratory. */
export class Node {
  readonly #api: string;

  /** The node's id at the latest `stats`. The id changes when the node learns its address (BEP 42). */
  id: string;

  constructor(readonly machine: Machine, readonly process: NodeProcess) {
    this.#api = process.api;
    this.id = String(process.lines.find((line) => line.node_id !== undefined)?.node_id);
  }

  get lines(): readonly LogLine[] {
    return this.process.lines;
  }

  /** URL of a path of the node's API, on the node's own machine. */
  url(path: string): string {
    return `${this.#api}${path}`;
  }

  /** Sends a request to the API from the node's own machine. Returns the status, and the body as JSON or text. */
  async request(
    path: string,
    options: readonly string[] = [],
  ): Promise<{ status: number; body: Stats; seconds: number }> {
    const text = await this.machine.run(
      "curl",
      "-s",
      "--max-time",
      "60",
      "-w",
      "\n%{http_code} %{time_total}",
      ...options,
      this.url(path),
    );
    const end = text.lastIndexOf("\n");
    const [status, seconds] = text.slice(end + 1).split(" ").map(Number);
    const body = text.slice(0, end);
    try {
      return { status, body: JSON.parse(body), seconds };
    } catch {
      return { status, body, seconds };
    }
  }

  async stats(): Promise<Stats> {
    const { body } = await this.request("/network/stats");
    this.id = body.node_id;
    return body;
  }

  /** Polls the node's statistics until they match. */
  async until(what: string, isSo: (stats: Stats) => boolean, withinMs = 60_000): Promise<Stats> {
    const deadline = Date.now() + withinMs;
    for (;;) {
      const stats = await this.stats();
      if (isSo(stats)) return stats;
      if (Date.now() > deadline) {
        const { nat, peers, readiness } = stats;
        assert.fail(
          `${this.machine.ns}: not ${what}: ${JSON.stringify({ nat, peers, readiness })}`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  }

  /** Number of packets that the node's machine has sent. */
  async packetsSent(): Promise<number> {
    const counts = JSON.parse(await this.machine.run("ip", "-j", "-s", "link", "show", "eth0"));
    return counts[0].stats64.tx.packets;
  }

  async stop(signal: Deno.Signal = "SIGTERM"): Promise<void> {
    const { code, stderr } = await this.process.stop(signal);
    if (signal === "SIGTERM") assert.equal(code, 0, stderr);
  }
}

/** A laboratory. When it is disposed, it ends all its processes and removes all its namespaces. */
export class Lab implements AsyncDisposable {
  readonly #prefix: string;
  readonly #directory: string;
  readonly #namespaces: string[] = [];
  readonly #nodes: Node[] = [];
  readonly #daemons: Daemon[] = [];
  #nats: UserSpaceNats | undefined;
  #count = 0;

  private constructor(
    prefix: string,
    directory: string,
    /** The first three numbers of the n-th network's addresses. */
    readonly subnet: (n: number) => string,
  ) {
    this.#prefix = prefix;
    this.#directory = directory;
  }

  /**
   * Builds the Internet. The names of namespaces begin with NATLAB, so that run.sh finds those of a killed test.
   * Without `subnet`, networks are 11.N.0.0/24, which nodes count as public.
   */
  static async open(subnet = (n: number) => `11.${n}.0`): Promise<Lab> {
    const prefix = `${Deno.env.get("NATLAB") ?? "natlab"}-${crypto.randomUUID().slice(0, 4)}`;
    const lab = new Lab(prefix, await Deno.makeTempDir({ prefix: "natlab-" }), subnet);
    try {
      const net = await lab.#namespace("net");
      await net.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1");
      return lab;
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The machine in the middle, which forwards all packets. */
  get internet(): Machine {
    return new Machine(this, this.#name("net"), "");
  }

  get directory(): string {
    return this.#directory;
  }

  #name(name: string): string {
    return `${this.#prefix}-${name}`;
  }

  async #namespace(name: string, address = ""): Promise<Machine> {
    const ns = this.#name(name);
    this.#namespaces.push(ns);
    await execute("ip", "netns", "add", ns);
    await execute("ip", "-n", ns, "link", "set", "lo", "up");
    return new Machine(this, ns, address);
  }

  /** Connects `dev` of one machine with a device of another. */
  async #line(ns: string, dev: string, otherNs: string, otherDev: string): Promise<void> {
    await execute(
      ...words(`ip -n ${ns} link add ${dev} type veth peer ${otherDev} netns ${otherNs}`),
    );
    await execute(...words(`ip -n ${ns} link set ${dev} up`));
    await execute(...words(`ip -n ${otherNs} link set ${otherDev} up`));
  }

  /** Connects a machine to the Internet over a network of its own: `subnet(N)`.0/24, 2001:db8:N::/64. */
  async #connect(n: number, ns: string, dev: string, ipv6 = false): Promise<void> {
    const net = this.#name("net");
    await this.#line(net, `to${n}`, ns, dev);
    await execute(...words(`ip -n ${net} address add ${this.subnet(n)}.1/24 dev to${n}`));
    await execute(...words(`ip -n ${ns} address add ${this.subnet(n)}.2/24 dev ${dev}`));
    await execute(...words(`ip -n ${ns} route add default via ${this.subnet(n)}.1`));
    if (ipv6) {
      await execute(...words(`ip -n ${net} address add 2001:db8:${n}::1/64 dev to${n} nodad`));
      await execute(...words(`ip -n ${ns} address add 2001:db8:${n}::2/64 dev ${dev} nodad`));
      await execute(...words(`ip -n ${ns} route add default via 2001:db8:${n}::1`));
    }
  }

  /** Creates a host with a public address. */
  async publicHost({ ipv6 = false } = {}): Promise<Machine> {
    const n = ++this.#count;
    const { ns } = await this.#namespace(`public${n}`);
    await this.#connect(n, ns, "eth0", ipv6);
    return new Machine(this, ns, `${this.subnet(n)}.2`);
  }

  /** Starts nodes with public addresses. Also returns the arguments for other nodes to join them. */
  async publicNodes(count: number): Promise<{ nodes: Node[]; bootstrap: string[] }> {
    const hosts = await Promise.all(Array.from({ length: count }, () => this.publicHost()));
    const bootstrap = ["--bootstrap", hosts.slice(0, 2).map((h) => `${h.address}:8000`).join()];
    return { nodes: await Promise.all(hosts.map((host) => host.start(bootstrap))), bootstrap };
  }

  /** Creates a network of hosts behind a router of this kind. `change` alters a NAT in user space. */
  async site(
    kind: Kind,
    { hosts = 1, ipv6 = false, upnp, change = {} }: {
      readonly hosts?: number;
      /** Public IPv6 addresses behind the router, whose firewall lets no unsolicited packets in. */
      readonly ipv6?: boolean;
      /** Settings of miniupnpd. With settings, miniupnpd runs on the router. */
      readonly upnp?: MiniupnpdOptions;
      readonly change?: Partial<UserSpaceNat>;
    } = {},
  ): Promise<Site> {
    if (kind === "public") {
      const machine = await this.publicHost({ ipv6 });
      return { kind, router: machine, external: machine.address, hosts: [machine] };
    }
    const n = ++this.#count;
    const router = await this.#namespace(`router${n}`);
    await router.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1");
    await execute(...words(`ip -n ${router.ns} link add lan type bridge`));
    await execute(...words(`ip -n ${router.ns} link set lan up`));
    await this.#way(n, kind, router, ipv6, change);
    // Hosts behind a plain firewall have public addresses.
    const lan = kind === "firewall" ? `11.${n}.1` : `192.168.${n}`;
    await execute(...words(`ip -n ${router.ns} address add ${lan}.1/24 dev lan`));
    if (kind === "firewall") {
      await execute(...words(`ip -n ${this.#name("net")} route add ${lan}.0/24 via 11.${n}.0.2`));
    }
    if (ipv6) {
      await execute(...words(`ip -n ${router.ns} address add 2001:db8:${n}:1::1/64 dev lan nodad`));
      await execute(
        ...words(
          `ip -n ${this.#name("net")} route add 2001:db8:${n}:1::/64 via 2001:db8:${n}::2`,
        ),
      );
    }
    const machines: Machine[] = [];
    for (let i = 0; i < hosts; i++) {
      const { ns } = await this.#namespace(`host${n}-${i + 1}`);
      const address = `${lan}.${i + 2}`;
      await this.#line(router.ns, `to-host${i + 1}`, ns, "eth0");
      await execute(...words(`ip -n ${router.ns} link set to-host${i + 1} master lan`));
      await execute(...words(`ip -n ${ns} address add ${address}/24 dev eth0`));
      await execute(...words(`ip -n ${ns} route add default via ${lan}.1`));
      if (ipv6) {
        const v6 = `2001:db8:${n}:1::${i + 2}`;
        await execute(...words(`ip -n ${ns} address add ${v6}/64 dev eth0 nodad`));
        await execute(...words(`ip -n ${ns} route add default via 2001:db8:${n}:1::1`));
      }
      machines.push(new Machine(this, ns, address));
    }
    const external = kind === "firewall" ? machines[0]?.address : `11.${n}.0.2`;
    const site: Site = { kind, router, external, hosts: machines };
    if (upnp !== undefined) await this.miniupnpd(router, upnp);
    return site;
  }

  /** Sets up the router's side to the Internet. */
  async #way(
    n: number,
    kind: Kind,
    router: Machine,
    ipv6: boolean,
    change: Partial<UserSpaceNat>,
  ): Promise<void> {
    const userSpace = USER_SPACE[kind];
    if (userSpace !== undefined) {
      return await this.#userSpace(n, router, { ...userSpace, ...change });
    }
    if (kind !== "double") {
      await this.#connect(n, router.ns, "wan", ipv6);
      const flags = kind === "linux-random" ? "fully-random" : "";
      return await nft(router, kind === "firewall" ? FIREWALL : masquerade(flags));
    }
    // A home router behind a provider's NAT (RFC 6598).
    const carrier = await this.#namespace(`carrier${n}`);
    await carrier.run("sysctl", "-qw", "net.ipv4.ip_forward=1");
    await this.#userSpace(n, carrier, { ...CARRIER, ...change });
    await this.#line(carrier.ns, "lan", router.ns, "wan");
    await execute(...words(`ip -n ${carrier.ns} address add 100.64.${n}.1/24 dev lan`));
    await execute(...words(`ip -n ${router.ns} address add 100.64.${n}.2/24 dev wan`));
    await execute(...words(`ip -n ${router.ns} route add default via 100.64.${n}.1`));
    await nft(router, masquerade(""));
  }

  async #userSpace(n: number, router: Machine, nat: UserSpaceNat): Promise<void> {
    const net = this.#name("net");
    this.#nats ??= new UserSpaceNats();
    await this.#nats.ask({
      do: "add",
      name: router.ns,
      inside: { ns: router.ns, dev: "wan" },
      outside: { ns: net, dev: `nat${n}` },
      address: `11.${n}.0.2`,
      ...nat,
    });
    await execute(...words(`ip -n ${net} link set nat${n} up`));
    await execute(...words(`ip -n ${net} route add 11.${n}.0.0/24 dev nat${n}`));
    await execute(...words(`ip -n ${router.ns} link set wan up`));
    await execute(...words(`ip -n ${router.ns} route add default dev wan`));
  }

  /** Gives a router's NAT another external address, in user space or in Linux. All its mappings end. */
  async changeAddress({ kind, router, external }: Site): Promise<string> {
    const address = external.replace(/\d+$/, "77");
    if (USER_SPACE[kind] !== undefined) {
      await this.#nats!.ask({ do: "address", name: router.ns, address });
      return address;
    }
    const gateway = external.replace(/\d+$/, "1");
    await router.run("ip", "address", "flush", "dev", "wan");
    await router.run("ip", "address", "add", `${address}/24`, "dev", "wan");
    await router.run("ip", "route", "add", "default", "via", gateway);
    await router.run("conntrack", "-F");
    return address;
  }

  /** Packets that a NAT in user space has passed and filtered, and its number of mappings. */
  counts(
    { router }: Site,
  ): Promise<{ out: number; in: number; filtered: number; mappings: number }> {
    return this.#nats!.ask({ do: "counts", name: router.ns });
  }

  /** Starts miniupnpd on a Linux router, without leases. */
  async miniupnpd(router: Machine, options: MiniupnpdOptions = {}): Promise<Daemon> {
    const name = `${router.ns}-miniupnpd`;
    const conf = join(this.#directory, `${name}.conf`);
    const { upnp = true, pcp = true, natPmp = true, extra = [] } = options;
    await Deno.writeTextFile(
      conf,
      [
        "ext_ifname=wan",
        "listening_ip=lan",
        "port=5000",
        `enable_upnp=${upnp ? "yes" : "no"}`,
        `enable_natpmp=${pcp || natPmp ? "yes" : "no"}`,
        "secure_mode=yes",
        "uuid=11111111-2222-4333-8444-555555555551",
        "upnp_table_name=filter",
        "upnp_nat_table_name=nat",
        "upnp_forward_chain=forward_upnp",
        "upnp_nat_chain=prerouting_upnp",
        "upnp_nat_postrouting_chain=postrouting_upnp",
        ...extra,
        "allow 1024-65535 192.168.0.0/16 1024-65535",
        "deny 0-65535 0.0.0.0/0 0-65535",
        "",
      ].join("\n"),
    );
    await nft(router, miniupnpdTables({ pcp, natPmp }));
    const child = new Deno.Command("ip", {
      args: ["netns", "exec", router.ns, "miniupnpd", "-d", "-f", conf, "-P", `${conf}.pid`],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const daemon = new Daemon(child);
    this.#daemons.push(daemon);
    await daemon.line(pcp || natPmp ? /Listening for NAT-PMP/ : /HTTP listening/);
    return daemon;
  }

  /** Starts a node on a machine, at P2P port 8000, with its own data. */
  async startNode(machine: Machine, args: readonly string[]): Promise<Node> {
    const directory = join(this.#directory, `data-${machine.ns}`);
    const process = new NodeProcess([
      "--allow-net",
      "--test-networks",
      "2001:db8::/32,198.18.0.0/15",
      "--api-port",
      "0",
      "--data-dir",
      directory,
      ...args,
    ], { cwd: this.#directory, before: ["ip", "netns", "exec", machine.ns] });
    await process.line((line) => line.message.startsWith("Listening"), 60_000);
    const node = new Node(machine, process);
    this.#nodes.push(node);
    return node;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#nodes.map((node) => node.process.stop("SIGKILL")));
    await Promise.all(this.#daemons.map((daemon) => daemon.kill()));
    await this.#nats?.end();
    for (const ns of this.#namespaces) await execute("ip", "netns", "delete", ns);
    await Deno.remove(this.#directory, { recursive: true });
  }
}

export interface MiniupnpdOptions {
  readonly upnp?: boolean;
  /** miniupnpd has one switch for PCP and NAT-PMP. If one of them is off, a firewall rule drops its packets. */
  readonly pcp?: boolean;
  readonly natPmp?: boolean;
  /** More lines for the configuration file. */
  readonly extra?: readonly string[];
}

/** A program that runs on a router. */
export class Daemon {
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<void>;
  #text = "";

  constructor(child: Deno.ChildProcess) {
    this.#child = child;
    this.#reading = this.#read();
  }

  async #read(): Promise<void> {
    for await (const chunk of this.#child.stderr.pipeThrough(new TextDecoderStream())) {
      this.#text += chunk;
    }
  }

  /** The daemon's log so far. */
  get log(): string {
    return this.#text;
  }

  async line(pattern: RegExp): Promise<void> {
    const deadline = Date.now() + 10_000;
    while (!pattern.test(this.#text)) {
      assert.ok(Date.now() < deadline, `${pattern} is not in: ${this.#text}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Kills the daemon. Its mappings stay in the tables until the tables are rebuilt. */
  async kill(): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // The process has ended.
    }
    await this.#child.status;
    await this.#reading;
  }
}

/** The process that runs all NATs in user space. */
class UserSpaceNats {
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #lines: AsyncGenerator<string>;
  #last: Promise<unknown> = Promise.resolve();

  constructor() {
    const script = fileURLToPath(new URL("nat.py", import.meta.url));
    this.#child = new Deno.Command("python3", {
      args: [script],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#writer = this.#child.stdin.getWriter();
    this.#lines = linesOf(this.#child.stdout);
  }

  // deno-lint-ignore no-explicit-any
  ask(request: Record<string, unknown>): Promise<any> {
    const answer = this.#last.then(async () => {
      await this.#writer.write(new TextEncoder().encode(`${JSON.stringify(request)}\n`));
      const { value } = await this.#lines.next();
      const answer = JSON.parse(value ?? '{"error": "it has ended"}');
      assert.equal(answer.error, undefined, answer.error);
      return answer;
    });
    this.#last = answer.catch(() => {});
    return answer;
  }

  async end(): Promise<void> {
    await this.#writer.close();
    await this.#lines.return(undefined);
    await this.#child.status;
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let rest = "";
  for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + chunk).split("\n");
    rest = parts.pop()!;
    yield* parts;
  }
}

/** Linux's NAT, as in home routers. Drops unsolicited packets, because an ICMP error would disturb hole punching. */
function masquerade(flags: string): string {
  return `${FIREWALL}
    table inet nat {
      chain prerouting { type nat hook prerouting priority dstnat; jump prerouting_upnp; }
      chain prerouting_upnp {}
      chain postrouting { type nat hook postrouting priority srcnat;
        jump postrouting_upnp
        meta nfproto ipv4 oifname "wan" masquerade ${flags}
      }
      chain postrouting_upnp {}
    }`;
}

/** Rules of a firewall. They pass answers, and packets that miniupnpd was asked to let in. */
const FIREWALL = `
  table inet filter {
    chain input { type filter hook input priority filter;
      iifname "wan" ct state established,related accept
      iifname "wan" meta l4proto { icmp, ipv6-icmp } accept
      iifname "wan" drop
    }
    chain forward { type filter hook forward priority filter; policy drop;
      iifname "lan" accept
      ct state established,related accept
      meta l4proto ipv6-icmp accept
      jump forward_upnp
    }
    chain forward_upnp {}
  }`;

/** Rules that remove miniupnpd's mappings, and drop the packets of a protocol that is off. */
function miniupnpdTables({ pcp, natPmp }: { pcp: boolean; natPmp: boolean }): string {
  // The first byte of the payload is the version: 0 for NAT-PMP, 2 for PCP.
  const drop = (version: number) => `udp dport 5351 @th,64,8 ${version} drop;`;
  return `
    flush chain inet filter forward_upnp
    flush chain inet nat prerouting_upnp
    flush chain inet nat postrouting_upnp
    table inet control {}
    delete table inet control
    table inet control {
      chain input { type filter hook input priority 0; ${pcp ? "" : drop(2)} ${
    natPmp ? "" : drop(0)
  } }
    }`;
}

/** Adds rules to a machine's firewall. */
export async function nft(machine: Machine, rules: string): Promise<void> {
  const path = await Deno.makeTempFile({ dir: machine.lab.directory, suffix: ".nft" });
  await Deno.writeTextFile(path, rules);
  await machine.run("nft", "-f", path);
}

function words(text: string): [string, ...string[]] {
  return text.split(" ") as [string, ...string[]];
}

/** Runs a program until it ends, and returns its output. */
export async function execute(program: string, ...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(program, { args, stdin: "null" })
    .output();
  const decoder = new TextDecoder();
  assert.ok(success, `${program} ${args.join(" ")}: ${decoder.decode(stderr)}`);
  return decoder.decode(stdout);
}

/** A ping of KRPC (BEP 5), which every node answers. */
export const PING = "d1:ad2:id20:aaaaaaaaaaaaaaaaaaaae1:q4:ping1:t2:aa1:y1:qe";

/** Plain UDP sockets on a machine. */
export class Sockets {
  readonly machine: Machine;
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #reading: Promise<void>;
  readonly #heard: { at: number; from: [string, number]; data: string }[] = [];
  #wake = Promise.withResolvers<void>();
  #sent = 0;

  private constructor(machine: Machine, ports: readonly number[]) {
    this.machine = machine;
    const script = fileURLToPath(new URL("udp.py", import.meta.url));
    this.#child = new Deno.Command("ip", {
      args: ["netns", "exec", machine.ns, "python3", script, ...ports.map(String)],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#writer = this.#child.stdin.getWriter();
    this.#reading = this.#read();
  }

  static async open(machine: Machine, ports: readonly number[]): Promise<Sockets> {
    const sockets = new Sockets(machine, ports);
    await sockets.#wake.promise;
    return sockets;
  }

  async #read(): Promise<void> {
    for await (const line of linesOf(this.#child.stdout)) {
      const heard = JSON.parse(line);
      if (heard.ready === undefined) this.#heard.push(heard);
      this.#wake.resolve();
      this.#wake = Promise.withResolvers();
    }
  }

  /** Sends a packet. Each character of the text is one byte. */
  async send(at: number, host: string, port: number, data = String(++this.#sent)): Promise<void> {
    const line = { at, to: [host, port], data };
    await this.#writer.write(new TextEncoder().encode(`${JSON.stringify(line)}\n`));
  }

  /** Runs `act`. Returns the sender of the next packet at a port, or undefined if none arrives. */
  async after(at: number, act: () => Promise<void>): Promise<[string, number] | undefined> {
    this.#heard.length = 0;
    await act();
    const deadline = Date.now() + 600;
    for (;;) {
      const heard = this.#heard.find((packet) => packet.at === at);
      if (heard !== undefined || Date.now() > deadline) return heard?.from;
      let timer: ReturnType<typeof setTimeout> | undefined;
      const tick = new Promise<void>((resolve) => timer = setTimeout(resolve, 50));
      await Promise.race([this.#wake.promise, tick]);
      clearTimeout(timer);
    }
  }

  async end(): Promise<void> {
    await this.#writer.close();
    await this.#child.status;
    await this.#reading;
  }
}
