// Reads settings from their sources: flags, the environment and the .env file.

import {
  type Config,
  ENV_NAMES,
  isServiceLink,
  loadConfig,
  type SecretFile,
  type SettingText,
} from "../config.ts";
import { MAX_API_TOKENS_BYTES } from "../config/api_tokens.ts";
import { MAX_DENY_LIST_BYTES } from "../config/deny_list.ts";
import { envVariables } from "../config/env_file.ts";
import { ConfigError } from "../config/text.ts";
import { reason } from "./terminal/errors.ts";

/** Maximum number of bytes to read from a file with a secret. A token has at most 1,024 characters. */
const MAX_SECRET_BYTES = 4_096;

/** A node's options by name, as parsed by commander. */
export type NodeFlags = Readonly<Record<string, unknown>> & { readonly envFile?: string };

/** Loads a node's configuration from flags, the environment and the .env file. */
export function readConfig(flags: NodeFlags): Config {
  using settings = new NodeSettings(flags);
  return settings.read();
}

/**
 * The sources of a node's settings. They can be read again even after the node has given up the
 * permission to open files.
 */
export class NodeSettings {
  readonly #flags: NodeFlags;
  readonly #env = Object.fromEntries(ENV_NAMES.map((name) => [name, Deno.env.get(name)]));
  readonly #envFile: OpenFile | undefined;
  /** The open files whose paths are in settings, by path. */
  readonly #files = new Map<string, OpenFile>();
  /** Files that did not exist at the first read. A running node can't open them later. */
  readonly #missing = new Set<string>();
  /**
   * The path of the file of tokens when the settings were first read. A running node can't open
   * another file.
   */
  #tokensPath: string | undefined;

  /** @throws {ConfigError} if the file that --env-file names can't be opened */
  constructor(flags: NodeFlags) {
    this.#flags = flags;
    this.#envFile = openEnvFile(flags.envFile);
  }

  /** @throws {ConfigError} if a setting is bad, or a file can't be read (again) */
  read(): Config {
    const { envFile, ...flags } = this.#flags;
    return loadConfig({
      flags,
      env: this.#env,
      envFile: this.#envFile && envText(this.#envFile, envFile),
      envFileName: envFile,
      readSecret: (path) => oneLine(() => secretOf(this.#file(path))),
      readDenyList: (path) => oneLine(() => wholeText(this.#file(path), MAX_DENY_LIST_BYTES)),
      // DATA_DIR, and so the path, may have changed since the start. The new path takes effect at the next start.
      readApiTokens: (path) => oneLine(() => this.#apiTokens(this.#tokensPath ??= path)),
    });
  }

  /** Reads the file of tokens; undefined if it did not exist when the settings were first read. */
  #apiTokens(path: string): string | undefined {
    if (!this.#missing.has(path)) {
      try {
        const file = this.#file(path);
        file.refuseOtherWriters();
        return wholeText(file, MAX_API_TOKENS_BYTES);
      } catch (error) {
        if (!isMissing(error instanceof Error ? error.cause : error)) throw error;
      }
    }
    this.#missing.add(path);
    return undefined;
  }

  #file(path: string): OpenFile {
    const known = this.#files.get(path);
    if (known !== undefined) return known;
    checkIsFile(path);
    const file = new OpenFile(path);
    this.#files.set(path, file);
    return file;
  }

  [Symbol.dispose](): void {
    this.#envFile?.[Symbol.dispose]();
    for (const file of this.#files.values()) file[Symbol.dispose]();
  }
}

/** A file that stays open, to be read several times. */
class OpenFile {
  readonly #file: Deno.FsFile;
  /**
   * The file's mode at the time when the file was opened. Without the permission to read files, Deno does not report
   * the current mode.
   */
  readonly mode: number | null;
  #wasRead = false;

  constructor(path: string) {
    this.#file = Deno.openSync(path);
    this.mode = this.#file.statSync().mode;
  }

  /** @throws if other users can change the file, because they could add tokens for themselves */
  refuseOtherWriters(): void {
    if (((this.mode ?? 0) & 0o022) !== 0) throw new Error("other users can change it: chmod 600");
  }

  /**
   * Reads the open file, but at most its first `maxBytes` bytes. If the file was replaced at its path, this still
   * reads the old file.
   */
  read(maxBytes: number): Uint8Array {
    if (this.#wasRead) this.#file.seekSync(0, Deno.SeekMode.Start);
    this.#wasRead = true;
    return readStart(this.#file, maxBytes);
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory;
}

/** Throws an error with a one-line message if there is no regular file. Opening a pipe would wait for a writer. */
function checkIsFile(path: string): void {
  oneLine(() => {
    if (!Deno.statSync(path).isFile) throw new Error("it is not a regular file");
  });
}

/** The maximum size of a .env file in bytes: a hundred times what all settings need. */
const MAX_ENV_BYTES = 1 << 20;

/** Runs `read`. If that fails, throws an error with a one-line message. */
function oneLine<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new Error(reason(error), { cause: error });
  }
}

/** Reads the file `name` or, by default, .env if that exists. Throws a ConfigError if the file can't be read. */
export function readEnvFile(name: string | undefined): string | undefined {
  using file = openEnvFile(name);
  return file && envText(file, name);
}

function openEnvFile(name: string | undefined): OpenFile | undefined {
  try {
    // Refuse a named pipe, since opening it would wait for a writer. Allow one only if the user named the file.
    if (name === undefined && Deno.statSync(".env").isFifo) throw new Error("it is a named pipe");
    return new OpenFile(name ?? ".env");
  } catch (error) {
    if (name === undefined && error instanceof Deno.errors.NotFound) return undefined;
    throw new ConfigError(`${name ?? ".env"} can't be read: ${reason(error)}`);
  }
}

function envText(file: OpenFile, name = ".env"): string {
  let bytes: Uint8Array;
  try {
    bytes = file.read(MAX_ENV_BYTES + 1);
  } catch (error) {
    throw new ConfigError(`${name} can't be read: ${reason(error)}`);
  }
  if (bytes.length <= MAX_ENV_BYTES) return new TextDecoder().decode(bytes);
  throw new ConfigError(`${name} has more than ${MAX_ENV_BYTES} bytes: is it a file of settings?`);
}

/** Reads a file, but at most its first `maxBytes` bytes. */
function readStart(file: Deno.FsFile, maxBytes: number): Uint8Array {
  const bytes = new Uint8Array(maxBytes);
  let length = 0;
  while (length < maxBytes) {
    const read = file.readSync(bytes.subarray(length));
    if (read === null) break;
    length += read;
  }
  return bytes.subarray(0, length);
}

function wholeText(file: OpenFile, maxBytes: number): string {
  const bytes = file.read(maxBytes + 1);
  if (bytes.length <= maxBytes) return new TextDecoder().decode(bytes);
  throw new Error(`it has more than ${maxBytes} bytes`);
}

/** Reads the start of a small file, and its mode. If that fails, throws an error with a one-line message. */
export function readSecretFile(path: string): SecretFile {
  checkIsFile(path);
  return oneLine(() => {
    using file = new OpenFile(path);
    return secretOf(file);
  });
}

function secretOf(file: OpenFile): SecretFile {
  return { text: new TextDecoder().decode(file.read(MAX_SECRET_BYTES)), mode: file.mode };
}

/** The kind of place where a setting was found. `directory` is the .env in the working directory. */
export type Origin = "command line" | "environment" | "named file" | "directory";

export interface FoundSetting extends SettingText {
  readonly origin: Origin;
}

/** Returns a function that looks up a variable in the environment, then in .env. Empty variables count as unset. */
export function variables(envFile: string | undefined): (name: string) => FoundSetting | undefined {
  const file = envVariables(readEnvFile(envFile) ?? "");
  return (name) => {
    const text = Deno.env.get(name)?.trim();
    if (text && !isServiceLink(name, text)) {
      return { text, source: "in the environment", origin: "environment" };
    }
    const inFile = file[name]?.trim();
    if (!inFile) return undefined;
    const origin = envFile === undefined ? "directory" : "named file";
    return { text: inFile, source: `in ${envFile ?? ".env"}`, origin };
  };
}
