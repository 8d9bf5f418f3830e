// Where log records go: one line each on standard output, for people or for machines.

import { configure, type LogRecord } from "logtape";
import type { Config } from "../config.ts";
import { logsToJournal } from "../runtime/service_manager.ts";
import { stdout } from "./terminal.ts";

/**
 * Where OTEL_DENO is set, Deno exports what goes through the console, and that alone. It registers itself for
 * OpenTelemetry's API under this name.
 */
const IS_EXPORTED = Symbol.for("opentelemetry.js.api.1") in globalThis;

/** The console's function for each level: its name becomes the severity. */
const CONSOLE = {
  trace: "debug",
  debug: "debug",
  info: "info",
  warning: "warn",
  error: "error",
  fatal: "error",
} as const satisfies Record<LogRecord["level"], keyof Console>;

export async function configureLogging({ logLevel, logFormat }: Config): Promise<void> {
  const { isTerminal } = stdout;
  // Asked now: a running node may read no variable.
  const hasColor = stdout.hasColor && !IS_EXPORTED;
  const format = (logFormat ?? (isTerminal ? "pretty" : "json")) === "json"
    ? jsonLine
    : (record: LogRecord) => prettyLine(record, hasColor);
  const isJournal = logsToJournal();
  const exported = (record: LogRecord) => console[CONSOLE[record.level]](format(record));
  const write = (record: LogRecord) => {
    try {
      const priority = isJournal ? `<${PRIORITIES[record.level]}>` : "";
      stdout.write(`${priority}${format(record)}\n`);
    } catch {
      // Whoever read the log has gone; the node has not.
    }
  };
  await configure({
    sinks: { log: IS_EXPORTED ? exported : write },
    loggers: [
      { category: "dmnode", lowestLevel: logLevel, sinks: ["log"] },
      { category: ["logtape", "meta"], lowestLevel: "error", sinks: ["log"] },
    ],
  });
}

/** syslog's numbers, which the journal takes off a line again (sd-daemon(3)). */
const PRIORITIES: Record<LogRecord["level"], number> = {
  trace: 7,
  debug: 7,
  info: 6,
  warning: 4,
  error: 3,
  fatal: 2,
};

/** One JSON object: time, level, logger and message, then the message's parts under their names. */
export function jsonLine({ timestamp, level, category, message, properties }: LogRecord): string {
  return JSON.stringify({
    time: new Date(timestamp).toISOString(),
    level,
    logger: category.join("."),
    message: render(message),
    ...Object.fromEntries(Object.entries(properties).map(([name, value]) => [name, plain(value)])),
  });
}

const COLORS: Record<LogRecord["level"], number> = {
  trace: 90,
  debug: 90,
  info: 32,
  warning: 33,
  error: 31,
  fatal: 31,
};

/** Local time, level and message. */
export function prettyLine({ timestamp, level, message }: LogRecord, hasColor: boolean): string {
  const time = new Date(timestamp).toTimeString().slice(0, 8);
  const label = level.toUpperCase().padEnd(7);
  return `${time} ${hasColor ? `\x1b[${COLORS[level]}m${label}\x1b[0m` : label} ${render(message)}`;
}

/** The message as one line: control characters, which a stranger's bytes may hold, are shown and not obeyed. */
function render(message: readonly unknown[]): string {
  return message.map((part) => String(plain(part))).join("")
    // deno-lint-ignore no-control-regex
    .replace(/[\x00-\x1f\x7f-\x9f]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

function plain(value: unknown): unknown {
  return value instanceof Error ? value.stack ?? value.message : value;
}
