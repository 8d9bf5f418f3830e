// `dmnode completion`: generates completion scripts for bash, zsh and fish from the definitions of the commands.

import type { Argument, Command, Option } from "commander";

export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = typeof SHELLS[number];

/** The values that an option or a positional argument accepts. */
type Values = { readonly choices: readonly string[] } | "files" | "folders" | "anything";

interface CompletedOption {
  /** The short and the long name, such as `-o` and `--output`. */
  readonly names: readonly string[];
  readonly description: string;
  /** The values that the option accepts; null if it is a flag. */
  readonly values: Values | null;
}

/** A command. `path` lists the names from the program down to this command, such as `dmnode`, `identity`, `export`. */
interface CompletedCommand {
  readonly path: readonly string[];
  readonly description: string;
  readonly options: readonly CompletedOption[];
  readonly args: readonly Values[];
  readonly commands: readonly CompletedCommand[];
}

/** Returns the completion script for a shell. */
export function completionScript(program: Command, shell: Shell): string {
  const root = describe(program, []);
  const script = { bash: bashScript, zsh: zshScript, fish: fishScript }[shell];
  return script(root).trim();
}

function describe(command: Command, before: readonly string[]): CompletedCommand {
  const path = [...before, command.name()];
  const help = command.createHelp();
  const commands = help.visibleCommands(command);
  // Without a command, `dmnode` runs `start`, so it also accepts the options of `start`.
  const byDefault = before.length === 0
    ? commands.find((inner) => inner.name() === "start")
    : undefined;
  const options = [
    ...help.visibleOptions(command),
    ...(byDefault === undefined ? [] : help.visibleOptions(byDefault)),
  ].map(describeOption);
  return {
    path,
    description: command.description(),
    options: options.filter(({ names }, i) =>
      i === options.findIndex((other) => other.names.join() === names.join())
    ),
    args: command.registeredArguments.map(valuesOf),
    commands: commands.map((inner) => {
      const described = describe(inner, path);
      // Commander does not define which arguments `help` accepts, so list them here: the names of the other commands.
      if (inner.name() !== "help") return described;
      return { ...described, args: [{ choices: command.commands.map((other) => other.name()) }] };
    }),
  };
}

function describeOption(option: Option): CompletedOption {
  // Remove the placeholder from commander's long name `--allow-net[=LIST]`.
  const names = [option.short, option.long].flatMap((name) => name?.replace(/\[.*$/, "") ?? []);
  const { description } = option;
  return { names, description, values: option.required ? valuesOf(option) : null };
}

/** Returns the choices of an option or argument or, if it has none, the kind of value that its placeholder implies. */
function valuesOf(place: Option | Argument): Values {
  if (place.argChoices !== undefined) return { choices: place.argChoices };
  const name = "flags" in place ? /[<[](.*?)[>\]]/.exec(place.flags)?.[1] ?? "" : place.name();
  if (/^file\b/.test(name)) return "files";
  return name === "dir" ? "folders" : "anything";
}

function all(command: CompletedCommand): CompletedCommand[] {
  return [command, ...command.commands.flatMap(all)];
}

/** Maps each option to its choices or its kind of files. Throws if an option differs between commands. */
function optionValues(commands: readonly CompletedCommand[]): Map<string, Values> {
  const found = new Map<string, Values>();
  for (const { names, values } of commands.flatMap(({ options }) => options)) {
    if (values === null || values === "anything") continue;
    for (const name of names) {
      if (JSON.stringify(found.get(name) ?? values) !== JSON.stringify(values)) {
        throw new Error(
          `${name} has other values in another command, which completions can't tell apart`,
        );
      }
      found.set(name, values);
    }
  }
  return found;
}

/**
 * Returns the shell code that completes values. `kinds` has the code for each kind of value, and
 * `list` has the code for choices.
 */
function codeFor(
  values: Values,
  kinds: Readonly<Record<Extract<Values, string>, string>>,
  list: (words: string) => string,
): string {
  return typeof values === "string" ? kinds[values] : list(values.choices.join(" "));
}

function bashScript(root: CompletedCommand): string {
  const commands = all(root);
  const reply = (values: Values) =>
    codeFor(values, {
      files: 'compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur"))',
      folders: 'compopt -o filenames; COMPREPLY=($(compgen -d -- "$cur"))',
      anything: ":",
    }, (words) => `COMPREPLY=($(compgen -W "${words}" -- "$cur"))`);
  const at = ({ path, options, commands }: CompletedCommand) =>
    `    "${path.join(" ")}")
      commands="${commands.map(({ path }) => path.at(-1)).join(" ")}"
      options="${options.flatMap(({ names }) => names).join(" ")}"
      takers="${
      options.flatMap(({ names, values }) => values === null ? [] : names).join(" ")
    }" ;;`;
  return `
# Completes dmnode's commands, options and their values in bash. From: dmnode completion bash
_dmnode_at() {
  case $path in
${commands.map(at).join("\n")}
  esac
}

_dmnode() {
  local cur=\${COMP_WORDS[COMP_CWORD]} path=dmnode option= word commands options takers i
  local -i place=0
  COMPREPLY=()
  # bash splits --option=value into three words.
  if [[ $cur == "=" ]]; then cur=; fi
  _dmnode_at
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if [[ $word == "=" ]]; then continue; fi
    if [[ -n $option ]]; then
      option=
    elif [[ $word == -* ]]; then
      if [[ " $takers " == *" $word "* ]]; then option=$word; fi
    elif [[ " $commands " == *" $word "* ]]; then
      path+=" $word"
      _dmnode_at
    else
      place+=1
    fi
  done
  case $option in
${
    [...optionValues(commands)].map(([name, values]) => `    ${name}) ${reply(values)} ;;`).join(
      "\n",
    )
  }
  esac
  if [[ -n $option ]]; then return; fi
  if [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$cur"))
    return
  fi
  case "$path $place" in
${
    commands.flatMap(({ path, args }) =>
      args.map((values, i) => `    "${path.join(" ")} ${i}") ${reply(values)} ;;`)
    ).join("\n")
  }
    *" 0") COMPREPLY=($(compgen -W "$commands" -- "$cur")) ;;
  esac
}
complete -F _dmnode dmnode`;
}

function zshScript(root: CompletedCommand): string {
  const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;
  // Escape the characters that have a special meaning in descriptions for zsh's _arguments and _describe.
  const escaped = (text: string) => text.replace(/[\\[\]:]/g, "\\$&");
  const kinds = { files: "_files", folders: "_files -/", anything: " " };
  const action = (values: Values) => codeFor(values, kinds, (words) => `(${words})`);
  const spec = ({ names, description, values }: CompletedOption) => {
    const shown = `[${escaped(description)}]`;
    const value = values === null ? "" : `:value:${action(values)}`;
    return names.length === 1
      ? quoted(`${names[0]}${shown}${value}`)
      : `'(${names.join(" ")})'{${names.join(",")}}${quoted(shown + value)}`;
  };
  const functionOf = ({ path }: CompletedCommand) => `_${path.join("_").replaceAll("-", "_")}`;
  const body = (command: CompletedCommand): string => {
    const options = command.options.map(spec);
    if (command.commands.length === 0) {
      // Omit arguments that accept anything. For such arguments, zsh would list options instead of inserting one.
      const words = command.args.flatMap((values, i) =>
        values === "anything" ? [] : [quoted(`${i + 1}::word:${action(values)}`)]
      );
      return `${functionOf(command)}() {
  _arguments -S : ${[...options, ...words].join(" \\\n    ")}
}`;
    }
    const list = command.commands.map(({ path, description }) =>
      quoted(`${path.at(-1)}:${escaped(description)}`)
    );
    return `${functionOf(command)}() {
  local curcontext="$curcontext" state line
  typeset -A opt_args
  local -a commands
  commands=(${list.join(" \\\n    ")})
  _arguments -C -S : ${options.join(" \\\n    ")} \\
    '1: :->command' '*:: :->rest'
  case $state in
    command) _describe -t commands 'command' commands ;;
    rest)
      case $words[1] in
${
      command.commands.map((inner) => `        ${inner.path.at(-1)}) ${functionOf(inner)} ;;`)
        .join("\n")
    }
      esac
      ;;
  esac
}`;
  };
  return `
#compdef dmnode
# Completes dmnode's commands, options and their values in zsh. From: dmnode completion zsh
${all(root).map(body).join("\n\n")}

if [ "$funcstack[1]" = "_dmnode" ]; then _dmnode "$@"; else compdef _dmnode dmnode; fi`;
}

function fishScript(root: CompletedCommand): string {
  const quoted = (text: string) => `'${text.replace(/[\\']/g, "\\$&")}'`;
  const commands = all(root);
  const name = ({ path }: CompletedCommand) => path.join(" ");
  const takers = commands.flatMap((command) =>
    command.options.flatMap(({ names, values }) =>
      values === null ? [] : names.map((n) => quoted(`${name(command)} ${n}`))
    )
  );
  const kinds = { files: "-rF", folders: "-xa '(__fish_complete_directories)'", anything: "-x" };
  const completes = (values: Values) => codeFor(values, kinds, (words) => `-xa ${quoted(words)}`);
  const lines = commands.flatMap((command) => {
    const at = (place: string) => `complete -c dmnode -n ${quoted(`__dmnode_at ${place}`)}`;
    const path = name(command);
    return [
      ...command.options.map(({ names, description, values }) => {
        const flags = names.map((n) =>
          n.startsWith("--") ? `-l ${n.slice(2)}` : `-s ${n.slice(1)}`
        );
        const value = values === null ? "" : ` ${completes(values)}`;
        return `${at(`any ${path}`)} ${flags.join(" ")}${value} -d ${quoted(description)}`;
      }),
      ...command.commands.map(({ path: inner, description }) =>
        `${at(`0 ${path}`)} -xa ${inner.at(-1)} -d ${quoted(description)}`
      ),
      ...command.args.map((values, i) =>
        values === "files"
          ? `${at(`${i} ${path}`)} -F`
          : `${at(`${i} ${path}`)} ${completes(values)}`
      ),
    ];
  });
  return `
# Completes dmnode's commands, options and their values in fish. From: dmnode completion fish
# Whether the word to complete belongs to a command: __dmnode_at PLACE dmnode COMMAND..., where PLACE is the number of
# arguments before it, or any.
function __dmnode_at
    set -l tokens (commandline -opc)
    set -l path dmnode
    set -l place 0
    set -l takes_value 0
    for word in $tokens[2..-1]
        if test $takes_value = 1
            set takes_value 0
            continue
        end
        switch "$path $word"
            case ${commands.slice(1).map((command) => quoted(name(command))).join(" ")}
                set path "$path $word"
            case ${takers.join(" ")}
                set takes_value 1
            case '* -*'
            case '*'
                set place (math $place + 1)
        end
    end
    test "$path" = "$argv[2..-1]"; and test "$argv[1]" = any -o "$argv[1]" = $place
end
complete -c dmnode -f
${lines.join("\n")}`;
}
