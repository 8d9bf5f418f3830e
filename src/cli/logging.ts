// Writes log records to standard output, one line each, for people or for machines.

import { configure, type LogRecord, type Sink } from "logtape";
import type { Config } from "../config.ts";
import { LogWriter } from "./log_writer.ts";
import { logsToJournal } from "../runtime/process/service_manager.ts";
import { stdout } from "./terminal/terminal.ts";

/** Whether Deno exports telemetry (OTEL_DENO). Deno exports only log records that are written with `console`. */
const IS_EXPORTED = Symbol.for("opentelemetry.js.api.1") in globalThis;

/**
 * For each level: its console method (which sets OpenTelemetry's severity), its syslog priority (sd-daemon(3)), its
 * color.
 */
const LEVELS = {
  trace: { method: "debug", priority: 7, color: 90 },
  debug: { method: "debug", priority: 7, color: 90 },
  info: { method: "info", priority: 6, color: 32 },
  warning: { method: "warn", priority: 4, color: 33 },
  error: { method: "error", priority: 3, color: 31 },
  fatal: { method: "error", priority: 2, color: 31 },
} as const satisfies Record<LogRecord["level"], unknown>;

/** The maximum time for which the program waits for a reader of the log before it ends. */
const FLUSH_MS = 300;

let writer: LogWriter | undefined;
let sink: Sink | undefined;

/** Resolves when the log is written, or soon after if nobody reads it. Call it before the program ends. */
export async function flushLog(): Promise<void> {
  await writer?.flush(FLUSH_MS);
}

/** The number of dropped log lines, and how long the current write has waited. */
export function logState(): LogWriter["state"] {
  return writer?.state ?? { dropped: 0, stalled_s: 0 };
}

export async function configureLogging({ logLevel, logFormat }: Config): Promise<void> {
  const { isTerminal } = stdout;
  // Read the variables for colors now: once the node is running, it may no longer read environment variables.
  const hasColor = stdout.hasColor && !IS_EXPORTED;
  const format = (logFormat ?? (isTerminal ? "pretty" : "json")) === "json"
    ? jsonLine
    : (record: LogRecord) => prettyLine(record, hasColor);
  const isJournal = logsToJournal();
  const exported = (record: LogRecord) => console[LEVELS[record.level].method](format(record));
  const line = (record: LogRecord) => {
    const priority = isJournal ? `<${LEVELS[record.level].priority}>` : "";
    return `${priority}${format(record)}\n`;
  };
  const lines = writer = new LogWriter({
    write: (bytes) => Deno.stdout.write(bytes),
    droppedLine: (count) => line(droppedRecord(count)),
  });
  const write = (record: LogRecord) => lines.write(line(record));
  sink = IS_EXPORTED ? exported : write;
  await setLogLevel(logLevel);
}

/** Changes the lowest level that is logged. Call `configureLogging` first. */
export async function setLogLevel(lowestLevel: Config["logLevel"]): Promise<void> {
  await configure({
    reset: true,
    sinks: { log: sink! },
    loggers: [
      { category: "dmnode", lowestLevel, sinks: ["log"] },
      { category: ["logtape", "meta"], lowestLevel: "error", sinks: ["log"] },
    ],
  });
}

/** The log record that reports how many lines were dropped. */
function droppedRecord(count: number): LogRecord {
  return {
    category: ["dmnode"],
    level: "warning",
    timestamp: Date.now(),
    rawMessage: "Lines of the log were dropped, as they could not be written: {count}",
    message: ["Lines of the log were dropped, as they could not be written: ", count, ""],
    properties: { count },
  };
}

/** Formats a record as a JSON object: time, level, logger, message, and each value in the message under its name. */
function jsonLine({ timestamp, level, category, message, properties }: LogRecord): string {
  return JSON.stringify({
    time: new Date(timestamp).toISOString(),
    level,
    logger: category.join("."),
    message: render(message),
    ...Object.fromEntries(Object.entries(properties).map(([name, value]) => [name, plain(value)])),
  });
}

/** Formats a record for people: local time, level and message. */
function prettyLine({ timestamp, level, message }: LogRecord, hasColor: boolean): string {
  const time = new Date(timestamp).toTimeString().slice(0, 8);
  const label = level.toUpperCase().padEnd(7);
  return `${time} ${hasColor ? `\x1b[${LEVELS[level].color}m${label}\x1b[0m` : label} ${
    render(message)
  }`;
}

/** Returns the message as one line. Escapes control characters, since text from strangers may contain them. */
function render(message: readonly unknown[]): string {
  return message.map((part) => String(plain(part))).join("")
    // deno-lint-ignore no-control-regex
    .replace(/[\x00-\x1f\x7f-\x9f]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

function plain(value: unknown): unknown {
  return value instanceof Error ? value.stack ?? value.message : value;
}
