// `dmnode start`: wires configuration, node and API together, and runs until a signal.

import { getLogger } from "logtape";
import { createApi } from "../api/app.ts";
import { noRefusals } from "../api/limits.ts";
import { FrontError, FrontThread, ListenError } from "../api/front_thread.ts";
import { serveApi, serveOptions } from "../api/server.ts";
import { type Config, describeScope, ENV_NAMES, loadConfig, NO_SETTING } from "../config.ts";
import { LocalNode } from "../runtime/local_node.ts";
import { dropPermissions } from "../runtime/permissions.ts";
import { ServiceManager } from "../runtime/service_manager.ts";
import { BindError } from "../runtime/udp.ts";
import { StorageError } from "../storage/database.ts";
import { VERSION } from "../version.ts";
import { readEnvFile } from "./env_file.ts";
import { UserError } from "./errors.ts";
import { configureLogging } from "./logging.ts";

/** A stop that takes longer than this is cut short, so that it ends within the contract's 5 s. */
const STOP_WITHIN_MS = 4_500;

/** What commander parsed, by option name. */
export type StartFlags = Readonly<Record<string, unknown>> & { readonly envFile?: string };

/** Runs a node until SIGINT or SIGTERM. */
export async function start(flags: StartFlags): Promise<void> {
  const config = readConfig(flags);
  await configureLogging(config);
  const log = getLogger(["dmnode"]);
  for (const warning of config.warnings) log.warning("{warning}", { warning });
  log.info("dmnode {version} starts. It talks to: {scope}", {
    version: VERSION,
    scope: describeScope(config.allowNet),
  });
  // Listened to from here on: a signal that comes while the node starts must stop it as cleanly as a later one.
  const stopping = stopSignal();
  let manager: ServiceManager | undefined;
  const front = FrontThread.start();
  const node = await startNode(config, async () => {
    // Its code is a file that can't be read later.
    await front.ready;
    manager = ServiceManager.connect(config.dataDir);
    dropPermissions({ isService: manager !== undefined });
  });
  let server;
  try {
    const refusals = noRefusals();
    const api = createApi({ service: node, config, log: getLogger(["dmnode", "api"]), refusals });
    server = await serveApi(api, { ...serveOptions(config), refusals, front });
  } catch (error) {
    await node.close();
    if (error instanceof ListenError || error instanceof FrontError) {
      throw new UserError(error.message, false, { cause: error });
    }
    throw error;
  }
  log.info("Ready: node {node_id}, UDP {udp}, API {api}", {
    node_id: node.nodeId,
    udp: node.address,
    api: server.url,
  });

  await manager?.ready(`Node ${node.nodeId}, UDP ${node.address}, API ${server.url}`);

  // A rejection that nobody awaited is a defect, but not worth the service of all peers.
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    log.error("Unexpected: {error}", { error: event.reason });
  });

  const reason = await Promise.race([stopping, server.failed]);
  if (reason instanceof FrontError) log.error("Stopping: {reason}", { reason: reason.message });
  else log.info("Stopping: {signal}", { signal: reason });
  const deadline = setTimeout(() => {
    log.error("Stopping took too long; what was not saved is lost");
    Deno.exit(1);
  }, STOP_WITHIN_MS);
  await manager?.stopping();
  await server.close();
  await node.close();
  manager?.close();
  clearTimeout(deadline);
  log.info("Stopped");
  if (reason instanceof FrontError) throw new UserError(reason.message, false, { cause: reason });
}

/** Settings from flags, environment and .env. */
export function readConfig({ envFile, ...flags }: StartFlags): Config {
  const names = [...ENV_NAMES, NO_SETTING];
  const env = Object.fromEntries(names.map((name) => [name, Deno.env.get(name)]));
  return loadConfig({
    flags,
    env,
    envFile: readEnvFile(envFile),
    envFileName: envFile,
    readFile: Deno.readTextFileSync,
  });
}

/** `onOpened` is called when all files are open, and before any packet is handled. */
async function startNode(config: Config, onOpened: () => Promise<void>): Promise<LocalNode> {
  try {
    return await LocalNode.start(config, { persistent: true, onOpened });
  } catch (error) {
    const isExpected = [BindError, StorageError, FrontError].some((type) => error instanceof type);
    if (error instanceof Error && isExpected) {
      throw new UserError(error.message, false, { cause: error });
    }
    throw error;
  }
}

/** The first of the signals that ask a process to end. A second one ends it at once, as without this. */
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
