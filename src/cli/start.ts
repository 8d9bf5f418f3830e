// `dmnode start`: starts a node and its API, and runs them until a signal arrives.

import { getLogger } from "logtape";
import { ApiThreadError, ListenError } from "../api/errors.ts";
import { ApiThread } from "../api/thread/thread.ts";
import { type Config, type Reloaded, reloaded } from "../config.ts";
import { describeScope } from "../config/addresses.ts";
import { ConfigError } from "../config/text.ts";
import { LocalNode } from "../runtime/local_node.ts";
import { compactHeap } from "../runtime/process/memory.ts";
import { dropPermissions } from "../runtime/process/permissions.ts";
import { ServiceManager } from "../runtime/process/service_manager.ts";
import { wasHangupIgnored } from "../runtime/net/message_batch.ts";
import { BindError } from "../runtime/net/udp.ts";
import { StorageError } from "../storage/sqlite.ts";
import { VERSION } from "../version.ts";
import { asUserError } from "./terminal/errors.ts";
import { configureLogging, flushLog, logState, setLogLevel } from "./logging.ts";
import { type NodeFlags, NodeSettings } from "./settings.ts";

/**
 * The maximum time in which a node may stop. After that, the program exits anyway, because it must end within 5 s of
 * a signal.
 */
const STOP_WITHIN_MS = 4_500;

/** Runs a node until SIGINT or SIGTERM, or until the API's thread fails. */
export async function start(flags: NodeFlags): Promise<void> {
  const settings = new NodeSettings(flags);
  const config = settings.read();
  await configureLogging(config);
  try {
    await run(config, settings);
  } finally {
    await flushLog();
  }
}

async function run(config: Config, settings: NodeSettings): Promise<void> {
  const log = getLogger(["dmnode"]);
  for (const warning of config.warnings) log.warning("{warning}", { warning });
  log.info("dmnode {version} starts. It talks to: {scope}", {
    version: VERSION,
    scope: describeScope(config.allowNet),
  });
  // Listen for signals before the node starts: a signal during the start must also stop it cleanly.
  const stopping = stopSignal();
  let manager: ServiceManager | undefined;
  const api = new ApiThread();
  const reloading: Reloading = { config, settings, api, node: undefined };
  reloadOnHangup(reloading);
  const onOpened = async () => {
    // The API's thread must load its code before permissions are dropped.
    await api.ready;
    await api.openSocket(config);
    manager = ServiceManager.connect(config.dataDir);
    dropPermissions({ isService: manager !== undefined });
  };
  const node = await LocalNode.start(config, { persistent: true, onOpened, log: logState }).catch(
    (error) => {
      throw asUserError(error, BindError, StorageError, ApiThreadError, ListenError);
    },
  );
  reloading.node = node;
  let url: string;
  try {
    // A SIGHUP during the start may have changed the settings.
    const { config: inForce } = reloading;
    node.setNetworkKeys(inForce.networkKeys);
    node.deny(inForce.denied);
    node.limitTraffic(inForce);
    const log = getLogger(["dmnode", "api"]);
    const { urls } = await api.serve({ service: node, config: inForce, log });
    url = urls.join(", ");
  } catch (error) {
    await node.close();
    throw asUserError(error, ListenError, ApiThreadError);
  }
  compactHeap();
  // The id changes once the node knows its address (BEP 42).
  const addresses = () => ({ node_id: node.nodeId, udp: node.address, api: url });
  log.info("Listening: node {node_id}, UDP {udp}, API {api}", addresses());
  void isReady(node).then(() => {
    log.info("Ready: node {node_id}, UDP {udp}, API {api}", addresses());
  });

  await manager?.ready(`Node ${node.nodeId}, UDP ${node.address}, API ${url}`);

  // An unhandled rejection is a bug, but should not end a node that still serves its peers.
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    log.error("Unexpected: {error}", { error: event.reason });
  });

  const reason = await Promise.race([stopping, api.failed]);
  if (reason instanceof ApiThreadError) log.error("Stopping: {reason}", { reason: reason.message });
  else log.info("Stopping: {signal}", { signal: reason });
  const deadline = setTimeout(() => {
    log.error("Stopping took too long; what was not saved is lost");
    void flushLog().then(() => Deno.exit(1));
  }, STOP_WITHIN_MS);
  await manager?.stopping();
  await api.close();
  await node.close();
  manager?.close();
  clearTimeout(deadline);
  log.info("Stopped");
  if (reason instanceof ApiThreadError) throw asUserError(reason, ApiThreadError);
}

/** Resolves when `GET /readyz` says for the first time that the node is ready. */
async function isReady(node: LocalNode): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const stop = node.onEvent((event) => {
    if (event.type === "ready" && event.data.ready) resolve();
  });
  if ((await node.readiness()).ready) resolve();
  await promise;
  stop();
}

interface Reloading {
  /** The settings that the node uses now. */
  config: Config;
  readonly settings: NodeSettings;
  readonly api: ApiThread;
  /** The running node; undefined until it has started. */
  node: LocalNode | undefined;
}

/**
 * Reads the settings again at each SIGHUP, and changes those that a running node can change. A node
 * that was started from a terminal thus keeps running when the terminal closes. Under nohup, SIGHUP
 * stays ignored.
 */
function reloadOnHangup(reloading: Reloading): void {
  if (Deno.build.os === "windows") return;
  const log = getLogger(["dmnode"]);
  if (wasHangupIgnored()) {
    // Without this listener, Deno would end the program at SIGHUP.
    Deno.addSignalListener("SIGHUP", () => {});
    return log.info("SIGHUP is ignored, as the program that started this one asks for (nohup)");
  }
  const { settings, api } = reloading;
  Deno.addSignalListener("SIGHUP", async () => {
    let reload: Reloaded;
    try {
      reload = reloaded(reloading.config, settings.read());
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      return log.error("SIGHUP: nothing was changed: {reason}", { reason: error.message });
    }
    const { now, later, config: inForce } = reload;
    reloading.config = inForce;
    reloading.node?.setNetworkKeys(inForce.networkKeys);
    reloading.node?.deny(inForce.denied);
    reloading.node?.limitTraffic(inForce);
    await setLogLevel(inForce.logLevel);
    api.reconfigure(inForce);
    if (now.length + later.length === 0) {
      return log.info(
        "SIGHUP: no setting has changed. Change files in place: a new file is read at the next start",
      );
    }
    log.info("SIGHUP: settings were read again. Changed now: {now}. At the next start: {later}", {
      now: now.join(", ") || "none",
      later: later.join(", ") || "none",
    });
  });
}

/**
 * Resolves to the first signal that asks the process to end. A second signal ends the process
 * immediately.
 */
export function stopSignal(): Promise<Deno.Signal> {
  const signals: Deno.Signal[] = Deno.build.os === "windows"
    ? ["SIGINT", "SIGBREAK"]
    : ["SIGINT", "SIGTERM"];
  return new Promise((resolve) => {
    const handlers = signals.map((signal) => {
      const handler = () => {
        for (const [other, registered] of handlers) Deno.removeSignalListener(other, registered);
        resolve(signal);
      };
      Deno.addSignalListener(signal, handler);
      return [signal, handler] as const;
    });
  });
}
