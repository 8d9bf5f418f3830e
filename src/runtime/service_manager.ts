// What systemd is told of the service: ready, alive, stopping (sd_notify(3), Type=notify and WatchdogSec=).

import { getLogger } from "logtape";
import { join } from "node:path";

/** Where the system's systemd listens; a running node may write there and nowhere else. */
export const NOTIFY_SOCKET = "/run/systemd/notify";

/** The variables that systemd sets for a service and that are read here or for the log. */
export const SERVICE_ENV_NAMES: readonly string[] = [
  "NOTIFY_SOCKET",
  "WATCHDOG_USEC",
  "WATCHDOG_PID",
  "JOURNAL_STREAM",
  "SYSTEMD_EXEC_PID",
];

/** Whether what this process writes on standard output goes to the journal. */
export function logsToJournal(): boolean {
  // Children of a service, a desktop's terminals among them, inherit JOURNAL_STREAM without writing there.
  return Deno.env.get("JOURNAL_STREAM") !== undefined &&
    Deno.env.get("SYSTEMD_EXEC_PID") === String(Deno.pid);
}

export class ServiceManager {
  readonly #conn: Deno.DatagramConn;
  readonly #path: string;
  readonly #watchdogMs: number | undefined;
  #watchdog: ReturnType<typeof setInterval> | undefined;
  #hasFailed = false;

  private constructor(conn: Deno.DatagramConn, path: string, watchdogMs: number | undefined) {
    this.#conn = conn;
    this.#path = path;
    this.#watchdogMs = watchdogMs;
  }

  /** Undefined where no service manager waits for news. `directory` is one to make a socket in, for a moment. */
  static connect(directory: string): ServiceManager | undefined {
    const path = Deno.env.get("NOTIFY_SOCKET");
    if (path === undefined || path === "") return undefined;
    // Deno binds every socket to a path. Nobody answers here, so that its name can go at once.
    const own = join(directory, `notify-${Deno.pid}.sock`);
    try {
      const conn = Deno.listenDatagram({ transport: "unixpacket", path: own });
      Deno.removeSync(own);
      return new ServiceManager(conn, path, watchdogMs());
    } catch (error) {
      warn(error);
      return undefined;
    }
  }

  /** The service serves from now on, and says so again as long as its event loop turns. */
  async ready(status: string): Promise<void> {
    await this.#send(`READY=1\nSTATUS=${status}`);
    if (this.#watchdogMs === undefined) return;
    // Twice as often as needed: one late message is no reason to be killed.
    this.#watchdog = setInterval(() => void this.#send("WATCHDOG=1"), this.#watchdogMs / 2);
  }

  async stopping(): Promise<void> {
    await this.#send("STOPPING=1\nSTATUS=Stopping");
  }

  close(): void {
    clearInterval(this.#watchdog);
    this.#conn.close();
  }

  async #send(message: string): Promise<void> {
    try {
      await this.#conn.send(new TextEncoder().encode(message), {
        transport: "unixpacket",
        path: this.#path,
      });
    } catch (error) {
      if (!this.#hasFailed) warn(error);
      this.#hasFailed = true;
    }
  }
}

function watchdogMs(): number | undefined {
  const pid = Deno.env.get("WATCHDOG_PID");
  const us = Number(Deno.env.get("WATCHDOG_USEC"));
  return us > 0 && (pid === undefined || pid === String(Deno.pid)) ? us / 1000 : undefined;
}

function warn(error: unknown): void {
  getLogger(["dmnode", "service"]).warning(
    "The service manager can't be told of this node's state, use Type=exec: {reason}",
    { reason: error instanceof Error ? error.message.split("\n")[0] : String(error) },
  );
}
