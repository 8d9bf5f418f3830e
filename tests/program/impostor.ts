// TCP connections from an address and port of the test's choice, which Deno offers no way to choose (Linux).

const SYMBOLS = {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  send: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
  recv: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize", nonblocking: true },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
} as const;

const AF_INET = 2,
  SOCK_STREAM = 1,
  SOL_SOCKET = 1,
  SO_LINGER = 13,
  SO_RCVTIMEO = 20,
  TIMEOUT_S = 5n;

/** A connection between two sockets of one process. */
export interface InnerConnection {
  readonly localPort: number;
  readonly remotePort: number;
}

/** The connections of a process to itself over 127.0.0.1, as any program of this machine can find them. */
export function innerConnections(pid: number): InnerConnection[] {
  const own = new Set(Array.from(Deno.readDirSync(`/proc/${pid}/fd`), ({ name }) => {
    try {
      return /^socket:\[(\d+)\]$/.exec(Deno.readLinkSync(`/proc/${pid}/fd/${name}`))?.[1];
    } catch {
      return undefined; // it was closed meanwhile
    }
  }));
  const lines = Deno.readTextFileSync("/proc/net/tcp").split("\n").slice(1);
  const sockets = lines.map((line) => line.trim().split(/\s+/)).filter((fields) =>
    own.has(fields[9])
  );
  const listening = sockets.flatMap(([, local, , state]) => state === "0A" ? [local] : []);
  const port = (address: string) => parseInt(address.slice(9), 16);
  return sockets.flatMap(([, local, remote, state]) =>
    state === "01" && listening.includes(remote)
      ? [{ localPort: port(local), remotePort: port(remote) }]
      : []
  );
}

/** Sends requests to a port of 127.0.0.1 from `host` and `port`. Returns the answers, as far as they come. */
export async function sendFrom(
  from: { readonly host: string; readonly port: number },
  to: number,
  requests: readonly string[],
): Promise<string> {
  const libc = Deno.dlopen("libc.so.6", SYMBOLS);
  const { socket, bind, connect, send, recv, setsockopt, close } = libc.symbols;
  const descriptor = socket(AF_INET, SOCK_STREAM, 0);
  try {
    const timeout = new BigInt64Array([TIMEOUT_S, 0n]);
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, timeout, timeout.byteLength);
    // Closing resets the connection, so that the next one can have the same port at once.
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, new Int32Array([1, 0]), 8);
    if (bind(descriptor, address(from.host, from.port), 16) !== 0) throw new Error("can't bind");
    if (connect(descriptor, address("127.0.0.1", to), 16) !== 0) throw new Error("can't connect");
    const bytes = new TextEncoder().encode(requests.join(""));
    send(descriptor, bytes, BigInt(bytes.length), 0);
    const buffer = new Uint8Array(65_536);
    let answer = "";
    while (answer.split("HTTP/1.1 ").length <= requests.length) {
      const length = Number(await recv(descriptor, buffer, BigInt(buffer.length), 0));
      if (length <= 0) break;
      answer += new TextDecoder().decode(buffer.subarray(0, length));
    }
    return answer;
  } finally {
    close(descriptor);
    libc.close();
  }
}

/** A `struct sockaddr_in`. */
function address(host: string, port: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(16);
  new DataView(bytes.buffer).setUint16(0, AF_INET, true);
  new DataView(bytes.buffer).setUint16(2, port);
  bytes.set(host.split(".").map(Number), 4);
  return bytes;
}
