// BitTorrent clients from Debian on the machines of a laboratory. Each knows dmnodes, and nothing else: no trackers, no
// peer exchange, no local discovery.

import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { join } from "node:path";
import type { Machine } from "../natlab/lab.ts";

/** A node as the bootstrap settings of clients need it. */
export interface Introducer {
  readonly host: string;
  readonly port: number;
}

/** A torrent of one file. */
export interface Torrent {
  readonly name: string;
  readonly content: Uint8Array;
  /** 40 hex digits. */
  readonly infoHash: string;
  /** The text of the .torrent file. */
  readonly file: Uint8Array;
}

const PIECE_LENGTH = 32_768;

/** Creates a torrent of random bytes without a tracker. `nodes` is the list of DHT nodes of BEP 5. */
export function createTorrent(
  name: string,
  pieces: number,
  nodes: readonly Introducer[],
): Torrent {
  const content = Buffer.concat(
    Array.from({ length: pieces }, () => crypto.getRandomValues(new Uint8Array(PIECE_LENGTH))),
  );
  const hashes = Array.from(
    { length: pieces },
    (_, i) =>
      createHash("sha1").update(content.subarray(i * PIECE_LENGTH, (i + 1) * PIECE_LENGTH))
        .digest(),
  );
  const info = Buffer.concat([
    Buffer.from(`d6:lengthi${content.length}e4:name${name.length}:${name}`),
    Buffer.from(`12:piece lengthi${PIECE_LENGTH}e6:pieces${20 * pieces}:`),
    ...hashes,
    Buffer.from("e"),
  ]);
  const list = nodes.map(({ host, port }) => `l${host.length}:${host}i${port}ee`).join("");
  return {
    name,
    content,
    infoHash: createHash("sha1").update(info).digest("hex"),
    file: Buffer.concat([Buffer.from("d4:info"), info, Buffer.from(`5:nodesl${list}ee`)]),
  };
}

/** The files of one client. */
interface Paths {
  /** Settings and state. */
  readonly home: string;
  /** Shared and downloaded files. */
  readonly files: string;
  /** The client adds each .torrent file that appears here. */
  readonly watched: string;
}

/** How to run one kind of client. */
interface ClientKind {
  readonly program: string;
  /** Writes the settings, and returns the arguments of the program. */
  prepare(paths: Paths, introducers: readonly Introducer[]): Promise<readonly string[]>;
  /** Whether the client reads the peers in DHT replies wrongly. Then only others can connect to it. */
  readonly misreadsPeers?: boolean;
  /** Adds a torrent, if the client does not watch a directory. */
  add?(machine: Machine, file: string): Promise<unknown>;
}

const PORT = 6881;

export const CLIENTS = {
  Transmission: {
    program: "transmission-daemon",
    async prepare({ home, files, watched }, introducers) {
      const settings = {
        "dht-enabled": true,
        "pex-enabled": false,
        "lpd-enabled": false,
        "utp-enabled": false,
        "port-forwarding-enabled": false,
        "peer-port": PORT,
        "rpc-enabled": false,
        "download-dir": files,
        "watch-dir": watched,
        "watch-dir-enabled": true,
      };
      await Deno.writeTextFile(join(home, "settings.json"), JSON.stringify(settings));
      const lines = introducers.map(({ host, port }) => `${host} ${port}\n`);
      await Deno.writeTextFile(join(home, "dht.bootstrap"), lines.join(""));
      return ["--foreground", "--config-dir", home, "--log-error"];
    },
  },
  aria2: {
    program: "aria2c",
    prepare({ home, files }, [{ host, port }]) {
      return Promise.resolve([
        "--no-conf",
        "--quiet",
        "--enable-rpc",
        `--dir=${files}`,
        `--listen-port=${PORT}`,
        `--dht-listen-port=${PORT}`,
        `--dht-entry-point=${host}:${port}`,
        `--dht-file-path=${join(home, "dht.dat")}`,
        "--enable-dht",
        "--enable-peer-exchange=false",
        "--bt-enable-lpd=false",
        "--check-integrity",
        "--file-allocation=none",
        "--seed-ratio=0",
        "--max-concurrent-downloads=100",
      ]);
    },
    async add(machine, file) {
      const torrent = Buffer.from(await Deno.readFile(file)).toString("base64");
      const call = { jsonrpc: "2.0", id: "1", method: "aria2.addTorrent", params: [torrent] };
      await request(machine, "http://127.0.0.1:6800/jsonrpc", "--data", JSON.stringify(call));
    },
  },
  rtorrent: {
    program: "rtorrent",
    misreadsPeers: true,
    async prepare({ home, files, watched }, introducers) {
      const lines = [
        "system.daemon.set = true",
        `network.port_range.set = ${PORT}-${PORT}`,
        `session.path.set = ${home}`,
        `directory.default.set = ${files}`,
        "protocol.pex.set = no",
        // Its default refuses encrypted connections, which Transmission tries first.
        "protocol.encryption.set = allow_incoming,try_outgoing,enable_retry",
        `dht.port.set = ${PORT}`,
        "dht.mode.set = on",
        ...introducers.map(({ host, port }, i) =>
          `schedule2 = introducer${i}, 1, 0, "dht.add_node=${host}:${port}"`
        ),
        `schedule2 = watch, 1, 1, "load.start=${watched}/*.torrent"`,
      ];
      const path = join(home, "settings.rc");
      await Deno.writeTextFile(path, `${lines.join("\n")}\n`);
      return ["-n", "-o", `import=${path}`];
    },
  },
  // Its bootstrap nodes are fixed. It learns others from torrents alone.
  qBittorrent: {
    program: "qbittorrent-nox",
    async prepare({ home, files }) {
      const lines = [
        "[LegalNotice]",
        "Accepted=true",
        "[BitTorrent]",
        `Session\\Port=${PORT}`,
        `Session\\DefaultSavePath=${files}`,
        "Session\\BTProtocol=TCP",
        "Session\\PeXEnabled=false",
        "Session\\LSDEnabled=false",
        "Session\\QueueingSystemEnabled=false",
        "[Network]",
        "PortForwardingEnabled=false",
        "[Preferences]",
        "WebUI\\Address=127.0.0.1",
        "WebUI\\LocalHostAuth=false",
      ];
      const directory = join(home, "qBittorrent", "config");
      await Deno.mkdir(directory, { recursive: true });
      await Deno.writeTextFile(join(directory, "qBittorrent.conf"), `${lines.join("\n")}\n`);
      return [`--profile=${home}`];
    },
    async add(machine, file) {
      const url = "http://127.0.0.1:8080/api/v2/torrents/add";
      await request(machine, url, "--form", `torrents=@${file}`);
    },
  },
} satisfies Record<string, ClientKind>;

export type ClientName = keyof typeof CLIENTS;

/** Sends a request to a program on the same machine, which may have just been started. */
async function request(machine: Machine, url: string, ...options: string[]): Promise<void> {
  const retries = ["--retry", "60", "--retry-delay", "1", "--retry-connrefused"];
  await machine.run("curl", "--silent", "--show-error", "--fail", ...retries, ...options, url);
}

/** A running client. */
export class Client implements AsyncDisposable {
  readonly #kind: ClientKind;
  readonly #paths: Paths;
  readonly #child: Deno.ChildProcess;

  private constructor(
    readonly name: ClientName,
    readonly machine: Machine,
    paths: Paths,
    child: Deno.ChildProcess,
  ) {
    this.#kind = CLIENTS[name];
    this.#paths = paths;
    this.#child = child;
  }

  static async start(
    name: ClientName,
    machine: Machine,
    introducers: readonly Introducer[],
  ): Promise<Client> {
    const directory = join(machine.lab.directory, name);
    const paths = {
      home: join(directory, "home"),
      files: join(directory, "files"),
      watched: join(directory, "watched"),
    };
    for (const path of Object.values(paths)) await Deno.mkdir(path, { recursive: true });
    const kind: ClientKind = CLIENTS[name];
    const args = await kind.prepare(paths, introducers);
    // Names must fail at once, as clients wait for those of their own bootstrap nodes. The mount is the client's alone.
    const noNames = 'mount --bind /dev/null /etc/resolv.conf && exec "$0" "$@"';
    const child = new Deno.Command("ip", {
      args: ["netns", "exec", machine.ns, "sh", "-c", noNames, kind.program, ...args],
      cwd: directory,
      env: { HOME: paths.home },
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    return new Client(name, machine, paths, child);
  }

  get misreadsPeers(): boolean {
    return this.#kind.misreadsPeers === true;
  }

  /** The address that other clients connect to. */
  get address(): string {
    return `${this.machine.address}:${PORT}`;
  }

  /** Makes the client share a file that it has. */
  async seed(torrent: Torrent): Promise<void> {
    await Deno.writeFile(join(this.#paths.files, torrent.name), torrent.content);
    await this.add(torrent);
  }

  /** Makes the client download a torrent. */
  async add(torrent: Torrent): Promise<void> {
    const { home, watched } = this.#paths;
    const file = join(home, `${torrent.name}.torrent`);
    await Deno.writeFile(file, torrent.file);
    if (this.#kind.add !== undefined) await this.#kind.add(this.machine, file);
    // A rename, because a client that watches must not read half a file.
    else await Deno.rename(file, join(watched, `${torrent.name}.torrent`));
  }

  /** Whether the client has the whole file. */
  async has({ name, content }: Torrent): Promise<boolean> {
    try {
      return Buffer.compare(await Deno.readFile(join(this.#paths.files, name)), content) === 0;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return false;
      throw error;
    }
  }

  /** Kills the client. What it has saved is deleted with the laboratory. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // The process has ended.
    }
    await this.#child.status;
  }
}
