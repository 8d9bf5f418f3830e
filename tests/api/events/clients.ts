// Clients of /ws and /events on real sockets, also for tests that violate the protocol.

/** One message of `/ws`. */
export interface Message {
  id: number | null;
  type: string;
  at: string;
  // deno-lint-ignore no-explicit-any
  data: any;
}

/** How a connection ended. */
export interface Ended {
  code: number;
  reason: string;
}

/** A WebSocket that queues its messages until a test reads them. */
export class Client {
  readonly socket: WebSocket;
  readonly #waiting: (Message | Ended)[] = [];
  #wake = () => {};

  constructor(url: string, options: string[] | { headers: Record<string, string> } = []) {
    // Only Deno lets a program set headers here.
    this.socket = new WebSocket(url.replace(/^http/, "ws"), options as string[]);
    this.socket.onmessage = ({ data }) => {
      const parsed = JSON.parse(data);
      this.#add(...(Array.isArray(parsed) ? parsed : [parsed]));
    };
    this.socket.onclose = ({ code, reason }) => this.#add({ code, reason });
    this.socket.onerror = (event) => event.preventDefault();
  }

  #add(...messages: (Message | Ended)[]): void {
    this.#waiting.push(...messages);
    this.#wake();
  }

  /** The number of unread messages. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** The next message, or the end. */
  async next(): Promise<Message | Ended> {
    while (this.#waiting.length === 0) await new Promise<void>((resolve) => this.#wake = resolve);
    return this.#waiting.shift()!;
  }

  /** The next message; it must not be the end. */
  async message(): Promise<Message> {
    const next = await this.next();
    if ("code" in next) throw new Error(`closed with ${next.code} ${next.reason}`);
    return next;
  }

  /** The next message of this type. Skips all others. */
  async of(type: string, fits: (message: Message) => boolean = () => true): Promise<Message> {
    for (;;) {
      const message = await this.message();
      if (message.type === type && fits(message)) return message;
    }
  }

  /** The end. Skips all messages before it. */
  async end(): Promise<Ended> {
    for (;;) {
      const next = await this.next();
      if ("code" in next) return next;
    }
  }

  /** Closes it, and waits until it is closed. */
  async close(): Promise<void> {
    this.socket.close();
    await this.end();
  }
}

const ENCODER = new TextEncoder(), DECODER = new TextDecoder();

/** The head of a request for a WebSocket. */
export function upgradeHead(path: string, port: number, headers = ""): string {
  return `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: Upgrade\r\n` +
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
    `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${headers}\r\n`;
}

/** A connection that sends any bytes, even those that no library would. */
export class RawClient {
  #rest = new Uint8Array();

  private constructor(readonly connection: Deno.TcpConn) {}

  /** Connects, and sends the head of a request. */
  static async open(port: number, head: string): Promise<RawClient> {
    const connection = await Deno.connect({ hostname: "127.0.0.1", port });
    await connection.write(ENCODER.encode(head));
    return new RawClient(connection);
  }

  async write(...bytes: (number | Uint8Array)[]): Promise<void> {
    for (const part of bytes) {
      const data = typeof part === "number" ? Uint8Array.of(part) : part;
      for (let at = 0; at < data.length;) at += await this.connection.write(data.subarray(at));
    }
  }

  async #fill(): Promise<boolean> {
    const buffer = new Uint8Array(65_536);
    const length = await this.connection.read(buffer).catch(() => null);
    if (length === null) return false;
    const joined = new Uint8Array(this.#rest.length + length);
    joined.set(this.#rest);
    joined.set(buffer.subarray(0, length), this.#rest.length);
    this.#rest = joined;
    return true;
  }

  /** The head of the response. */
  async head(): Promise<string> {
    for (;;) {
      const text = DECODER.decode(this.#rest);
      const end = text.indexOf("\r\n\r\n");
      if (end >= 0) {
        this.#rest = this.#rest.slice(ENCODER.encode(text.slice(0, end + 4)).length);
        return text.slice(0, end + 4);
      }
      if (!await this.#fill()) return text;
    }
  }

  /** The next frame of a server (RFC 6455, section 5.2); undefined at the end of the connection. */
  async frame(): Promise<{ opcode: number; payload: Uint8Array } | undefined> {
    for (;;) {
      const bytes = this.#rest;
      const short = bytes[1] & 127;
      const head = short === 126 ? 4 : short === 127 ? 10 : 2;
      if (bytes.length >= head) {
        let length = head === 2 ? short : 0;
        for (let i = 2; i < head; i++) length = length * 256 + bytes[i];
        if (bytes.length >= head + length) {
          this.#rest = bytes.slice(head + length);
          return { opcode: bytes[0] & 15, payload: bytes.slice(head, head + length) };
        }
      }
      if (!await this.#fill()) return undefined;
    }
  }

  /** The code with which the server closes; undefined without a close frame. Skips all frames before it. */
  async closeCode(): Promise<number | undefined> {
    for (;;) {
      const frame = await this.frame();
      if (frame === undefined) return undefined;
      if (frame.opcode === 8) return frame.payload[0] * 256 + frame.payload[1];
    }
  }

  close(): void {
    try {
      this.connection.close();
    } catch {
      // It was closed already.
    }
  }
}

/** The head of a masked frame of a client. The mask is all zeros. */
export function clientFrame(opcode: number, length: number, isFinal = true): Uint8Array {
  const head = new Uint8Array(14);
  head[0] = (isFinal ? 0x80 : 0) | opcode;
  head[1] = 0x80 | 127;
  new DataView(head.buffer).setBigUint64(2, BigInt(length));
  return head;
}
