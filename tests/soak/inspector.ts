// Makes a node collect its garbage, through Deno's inspector (Chrome DevTools Protocol).

/** A connection to the inspector of a process that runs with `--inspect`. */
export class Inspector {
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, () => void>();
  #count = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.onmessage = ({ data }) => {
      const { id } = JSON.parse(data);
      this.#waiting.get(id)?.();
      this.#waiting.delete(id);
    };
    socket.onclose = () => {
      for (const resolve of this.#waiting.values()) resolve();
    };
  }

  /** Connects to the inspector at a port of this machine. */
  static async connect(port: number): Promise<Inspector> {
    const response = await fetch(`http://127.0.0.1:${port}/json/list`);
    const [{ webSocketDebuggerUrl }] = await response.json();
    const socket = new WebSocket(webSocketDebuggerUrl);
    await new Promise<void>((resolve, reject) => {
      socket.onopen = () => resolve();
      socket.onerror = () => reject(new Error(`no inspector at ${webSocketDebuggerUrl}`));
    });
    return new Inspector(socket);
  }

  /** Collects the garbage of the main thread. */
  async collectGarbage(): Promise<void> {
    const id = ++this.#count;
    const answered = new Promise<void>((resolve) => this.#waiting.set(id, resolve));
    this.#socket.send(JSON.stringify({ id, method: "HeapProfiler.collectGarbage" }));
    await answered;
  }

  close(): void {
    this.#socket.close();
  }
}
