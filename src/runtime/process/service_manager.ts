// Tells systemd that the service is ready, alive or stopping (sd_notify(3), Type=notify and WatchdogSec=).

import { firstLine } from "../../krpc/error_text.ts";
import { getLogger } from "logtape";
import { join } from "node:path";

/** The notification socket of systemd. A running service has no permission to write to any other path. */
export const NOTIFY_SOCKET = "/run/systemd/notify";

/** The variables set by systemd that the program reads. */
export const SERVICE_ENV_NAMES: readonly string[] = [
  "NOTIFY_SOCKET",
  "WATCHDOG_USEC",
  "WATCHDOG_PID",
  "JOURNAL_STREAM",
  "SYSTEMD_EXEC_PID",
];

/** Whether the standard output of this process goes to systemd's journal. */
export function logsToJournal(): boolean {
  // Children of a service, such as desktop terminals, inherit JOURNAL_STREAM but do not write to the journal.
  return Deno.env.get("JOURNAL_STREAM") !== undefined &&
    Deno.env.get("SYSTEMD_EXEC_PID") === String(Deno.pid);
}

export class ServiceManager {
  #watchdog: ReturnType<typeof setInterval> | undefined;
  #hasFailed = false;

  private constructor(
    private readonly conn: Deno.DatagramConn,
    private readonly path: string,
    private readonly watchdogMs: number | undefined,
  ) {}

  /** Connects to the service manager if it expects notifications. Briefly creates a socket file in `directory`. */
  static connect(directory: string): ServiceManager | undefined {
    const path = Deno.env.get("NOTIFY_SOCKET");
    if (path === undefined || path === "") return undefined;
    // Deno requires a path for every Unix socket. Nobody sends to this socket, so its path can be
    // removed immediately.
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

  /** Reports that the service is ready. From then on, regularly reports that its event loop is running. */
  async ready(status: string): Promise<void> {
    await this.#send(`READY=1\nSTATUS=${status}`);
    if (this.watchdogMs === undefined) return;
    // Report twice as often as required, so that one late message does not get the service killed.
    this.#watchdog = setInterval(() => void this.#send("WATCHDOG=1"), this.watchdogMs / 2);
  }

  async stopping(): Promise<void> {
    await this.#send("STOPPING=1\nSTATUS=Stopping");
  }

  close(): void {
    clearInterval(this.#watchdog);
    this.conn.close();
  }

  async #send(message: string): Promise<void> {
    try {
      await this.conn.send(new TextEncoder().encode(message), {
        transport: "unixpacket",
        path: this.path,
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
    "Can't notify the service manager of this node's state; use Type=exec: {reason}",
    { reason: firstLine(error) },
  );
}
