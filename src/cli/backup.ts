// `dmnode backup` and `dmnode restore`: save a node in one file, and restore it from the file.

import { dirname, resolve } from "node:path";
import { apiTokensPath, ENV_NAMES, givenSettings } from "../config.ts";
import {
  type BackupSource,
  envText,
  restoreBackup,
  SETTINGS_FILE,
  writeBackup,
} from "../runtime/backup/backup.ts";
import { syncDirectory } from "../runtime/files.ts";
import { StorageError } from "../storage/sqlite.ts";
import { plural } from "../web/format.js";
import { dataDirOf, exists } from "./identity.ts";
import { readEnvFile, readSecretFile } from "./settings.ts";
import { asUserError, explaining, Interrupted, UserError } from "./terminal/errors.ts";
import { interruptible } from "./terminal/interrupt.ts";
import { print, printJson, stderr } from "./terminal/terminal.ts";

interface BackupFlags {
  readonly dataDir?: string;
  readonly envFile?: string;
  readonly json?: boolean;
}

/**
 * The settings that a backup leaves out. They are paths, and `restore` writes the paths of the new directory instead.
 */
const PATHS = ["DATA_DIR", "DENY_LIST", "API_TOKENS_FILE"];

/** Writes a backup to a new file that only its owner can read, or to standard output if `file` is -. */
export async function backup(
  file: string,
  { all = false, force = false, json = false, ...flags }: BackupFlags & {
    readonly all?: boolean;
    readonly force?: boolean;
  },
): Promise<void> {
  const dataDir = dataDirOf(flags), isPiped = file === "-";
  if (!isPiped && !force && exists(file)) {
    throw new UserError(`${file} exists: give another name, or --force to replace it`);
  }
  if (isPiped && Deno.stdout.isTerminal()) {
    throw new UserError("a backup is binary: give a file, or redirect standard output", true);
  }
  const files = settingsOf(flags, dataDir);
  // Create temporary files beside the backup. The disk there needs space for the backup anyway, while /tmp may be
  // small.
  const beside = isPiped ? undefined : dirname(resolve(file));
  if (beside !== undefined && !exists(beside)) {
    throw new UserError(`${beside} does not exist: create it, or give another file`);
  }
  const source = { dataDir, ...files, withItems: all };
  const { published, bytes } = await withScratch(beside, async (scratch, signal) => {
    if (isPiped) return { ...await writeBackup(Deno.stdout, source, scratch), bytes: null };
    const unfinished = `${scratch}/backup`;
    using to = Deno.openSync(unfinished, { write: true, createNew: true, mode: 0o600 });
    const written = await writeBackup(to, source, scratch);
    to.syncSync();
    signal.throwIfAborted();
    Deno.renameSync(unfinished, file);
    syncDirectory(dirname(resolve(file)));
    return { ...written, bytes: to.statSync().size };
  });
  if (isPiped) return;
  if (json) return printJson({ file, bytes, published });
  print(
    `Saved the identity, the settings and ${plural(published, "published value")} in ${file}`,
  );
}

/**
 * Runs a task with a new directory for temporary files, in `parent` or in the system's temporary directory. Removes the
 * new directory at the end, even if a signal ends the task.
 */
async function withScratch<T>(
  parent: string | undefined,
  task: (scratch: string, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  let scratch: string | undefined;
  try {
    return await interruptible(async (signal) => {
      const created = scratch = explaining(
        `${parent ?? "a directory for temporary files"} can't be written`,
        () => Deno.makeTempDirSync({ dir: parent, prefix: ".dmnode-backup-" }),
      );
      return await saved(() => task(created, signal));
    });
  } finally {
    if (scratch !== undefined) Deno.removeSync(scratch, { recursive: true });
  }
}

/** Restores a backup from a file, or from standard input if `file` is -. Never replaces a file. */
export async function restore(
  file: string,
  { json = false, ...flags }: BackupFlags,
): Promise<void> {
  const dataDir = dataDirOf(flags);
  const from = file === "-"
    ? Deno.stdin
    : explaining(`${file} can't be read`, () => Deno.openSync(file));
  await saved(() =>
    restoreBackup(from, dataDir, (warning) => stderr.write(`dmnode: ${warning}\n`))
  );
  const settings = `${dataDir}/${SETTINGS_FILE}`;
  if (json) return printJson({ data_dir: dataDir, settings });
  print(`Restored. Start the node with: dmnode --env-file ${settings}`);
}

/** Reads the settings from the environment and .env, the deny list and the tokens. Keeps invalid values of settings. */
function settingsOf(
  { envFile }: BackupFlags,
  dataDir: string,
): Pick<BackupSource, "settings" | "denyList" | "apiTokens"> {
  const given = new Map(givenSettings({
    env: Object.fromEntries(ENV_NAMES.map((name) => [name, Deno.env.get(name)])),
    envFile: readEnvFile(envFile),
    envFileName: envFile,
    readSecret: readSecretFile,
  }));
  const text = (path: string) =>
    explaining(`${path} can't be read`, () => Deno.readTextFileSync(path));
  const denyList = given.get("DENY_LIST");
  const apiTokens = apiTokensPath({ apiTokensFile: given.get("API_TOKENS_FILE") ?? null, dataDir });
  for (const name of PATHS) given.delete(name);
  return {
    settings: envText(given),
    denyList: denyList && text(denyList),
    apiTokens: exists(apiTokens) ? text(apiTokens) : undefined,
  };
}

/** Runs an operation, and turns errors about files into errors for the user. */
async function saved<T>(run: () => T | Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof StorageError) throw asUserError(error, StorageError);
    if (error instanceof Interrupted) throw error;
    return explaining("the backup failed", () => {
      throw error;
    });
  }
}
