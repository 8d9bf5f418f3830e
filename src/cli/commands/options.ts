// The options that several commands share, and parsers for option values.

import { type Command, InvalidArgumentError, Option } from "commander";
import { parseScopes, parseTime, type Scope, SCOPES } from "../../config/api_tokens.ts";
import { SETTINGS } from "../../config.ts";
import { MAX_TTL_S, MIN_TTL_S } from "../../reports/time.ts";
import { MAX_SEQ, parseSeq, type Seq } from "../../krpc/seq.ts";
import { DEFAULT_TIMEOUT_S } from "../client/api_client.ts";
import { parseApiUrl } from "../client/api_target.ts";

const MIN_TIMEOUT_S = 0.1, MAX_TIMEOUT_S = 3_600;

/** Returns a parser of whole numbers from `min` to `max`. */
export function integer(min: number, max: number): (text: string) => number {
  return decimal(min, max, { noun: "whole number", syntax: /^\d{1,16}$/ });
}

/** Parses a version number. */
export function seq(text: string): Seq {
  const value = parseSeq(text);
  if (value !== undefined) return value;
  throw new InvalidArgumentError(`Expected a whole number from 0 to ${MAX_SEQ}.`);
}

/**
 * Returns a parser of decimal numbers from `min` to `max`. Its error message names such a number with the word
 * `noun`.
 */
export function decimal(
  min: number,
  max: number,
  { noun = "number", syntax = /^(\d+\.?\d*|\.\d+)$/ } = {},
): (text: string) => number {
  return (text) => {
    const value = syntax.test(text) ? Number(text) : NaN;
    if (value >= min && value <= max) return value;
    throw new InvalidArgumentError(`Expected a ${noun} from ${min} to ${max}.`);
  };
}

/** The part of the help text that all options for a lifetime share. */
export const TTL =
  "how long other nodes keep the value if this node leaves: 1h to 7d (default: 1d)";

const SECONDS: Readonly<Record<string, number>> = { "": 1, s: 1, m: 60, h: 3_600, d: 86_400 };

/** Parses a lifetime such as 90m, 36h or 2d, and returns it in seconds. */
export function lifetime(text: string): number {
  const [, number, unit] = /^(\d{1,9})([smhd]?)$/.exec(text) ?? [];
  const seconds = Number(number) * SECONDS[unit];
  if (seconds >= MIN_TTL_S && seconds <= MAX_TTL_S) return seconds;
  throw new InvalidArgumentError("Expected a time from 1h to 7d, such as 90m, 36h or 2d.");
}

/** Parses scopes such as read,store. */
export function scopes(text: string): readonly Scope[] {
  const parsed = parseScopes(text);
  if (parsed !== undefined) return parsed;
  throw new InvalidArgumentError(`Expected scopes, separated by commas: ${SCOPES.join(", ")}.`);
}

/** Parses a date, or a time from now such as 12h or 90d, and returns it in ms since 1970. */
export function expiry(text: string): number {
  const [, number, unit] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  const time = number === undefined
    ? parseTime(text)
    : Date.now() + Number(number) * SECONDS[unit] * 1000;
  if (time !== undefined && time > Date.now()) return time;
  throw new InvalidArgumentError("Expected a date to come such as 2030-01-31, or 12h or 90d.");
}

export function apiUrl(text: string): string {
  const url = parseApiUrl(text);
  if (url !== undefined) return url;
  throw new InvalidArgumentError("Expected a URL such as http://127.0.0.1:8080, or unix:PATH.");
}

/** Adds a command that talks to a running node, with the options that all such commands share. */
export function clientCommand(
  parent: Command,
  name: string,
  { timeoutS = DEFAULT_TIMEOUT_S, ...about }: About & { readonly timeoutS?: number },
): Command {
  return explain(parent.command(name), about)
    .option(
      "--api <url>",
      "URL of the node's API, or unix: and a path (default: DMNODE_API, else API_SOCKET, else " +
        "API_HOST and API_PORT, else http://127.0.0.1:8080)",
      apiUrl,
    )
    .option(
      "--env-file <file>",
      "read variables such as API_TOKEN from this file instead of ./.env",
    )
    .option(
      "--timeout <seconds>",
      `fail if the node sends nothing for this long (default: ${timeoutS})`,
      decimal(MIN_TIMEOUT_S, MAX_TIMEOUT_S),
    )
    .option("--json", "print JSON");
}

/**
 * Returns the option --allow-net. Only the help uses it, because the program parses this option
 * before commander parses the others.
 */
export function allowNetOption(): Option {
  return new Option(
    "--allow-net[=LIST]",
    "talk to any address, or only to the addresses, CIDRs and hosts in LIST (ALLOW_NET; default: " +
      "only loopback)",
  );
}

export function addSettings(command: Command): void {
  for (const { flag, name, default: byDefault, meaning, format } of SETTINGS) {
    // Skip --allow-net, whose list is optional. Commander does not support that: see allowNetOption.
    if (flag === null || name === "ALLOW_NET") continue;
    const shown = byDefault === "" ? name : `${name}, default ${byDefault}`;
    const value = name === "DATA_DIR" ? "dir" : "value";
    const option = new Option(`${flag} <${value}>`, `${meaning} (${shown})`);
    // The choices are only for shell completion. loadConfig checks the values, as its errors name the source of a bad
    // value.
    if (format.choices !== undefined) option.argChoices = [...format.choices];
    command.addOption(option);
  }
}

/** The help texts of a command. Each line of `examples` is one example. The help shows `notes` before the examples. */
export interface About {
  readonly description: string;
  readonly examples: string;
  readonly notes?: string;
}

/** Sets the description of a command, and adds the notes and examples to the end of its help. */
export function explain(command: Command, { description, examples, notes }: About): Command {
  const indented = examples.trim().split("\n").map((line) => `  ${line.trim()}`).join("\n");
  const before = notes === undefined ? "" : `\n${notes.trim()}\n`;
  return command.description(description).addHelpText("after", `${before}\nExamples:\n${indented}`);
}
