// `dmnode completion`: scripts that complete the command line in bash, zsh and fish, made from the very definitions
// that the parser works with.

import type { Argument, Command, Option } from "commander";

/** The shells that there are scripts for. */
export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = typeof SHELLS[number];

/** What may stand in one place. */
type Values = { readonly choices: readonly string[] } | "files" | "folders" | "anything";

interface CompletedOption {
  /** As it is written: `-o`, `--output`. */
  readonly names: readonly string[];
  readonly description: string;
  /** Null where it takes no value. */
  readonly values: Values | null;
}

/** One command, with its words from the program's name on. */
interface CompletedCommand {
  readonly path: readonly string[];
  readonly description: string;
  readonly options: readonly CompletedOption[];
  /** Of the words behind the options, in order. */
  readonly words: readonly Values[];
  readonly commands: readonly CompletedCommand[];
}

/** The script for a shell. */
export function completionScript(program: Command, shell: Shell): string {
  const root = describe(program, []);
  const script = { bash: bashScript, zsh: zshScript, fish: fishScript }[shell];
  return script(root).trim();
}

function describe(command: Command, before: readonly string[]): CompletedCommand {
  const path = [...before, command.name()];
  const help = command.createHelp();
  const commands = help.visibleCommands(command);
  // What `dmnode` alone takes is what its default command takes.
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
    words: command.registeredArguments.map(valuesOf),
    commands: commands.map((inner) => {
      const described = describe(inner, path);
      // Commander's own command: its argument names no choices.
      if (inner.name() !== "help") return described;
      return { ...described, words: [{ choices: command.commands.map((other) => other.name()) }] };
    }),
  };
}

function describeOption(option: Option): CompletedOption {
  // `--allow-net[=LIST]` is known to the parser by this whole text, and takes no word of its own.
  const names = [option.short, option.long].flatMap((name) => name?.replace(/\[.*$/, "") ?? []);
  const { description } = option;
  return { names, description, values: option.required ? valuesOf(option) : null };
}

/** From choices, or from what the value is called: `<file>`, `[file]`, `<dir>`. */
function valuesOf(place: Option | Argument): Values {
  if (place.argChoices !== undefined) return { choices: place.argChoices };
  const called = "flags" in place ? /[<[](.*?)[>\]]/.exec(place.flags)?.[1] ?? "" : place.name();
  if (/^file\b/.test(called)) return "files";
  return called === "dir" ? "folders" : "anything";
}

/** This command and all below it. */
function all(command: CompletedCommand): CompletedCommand[] {
  return [command, ...command.commands.flatMap(all)];
}

/** Options that take one of few values, or a file: wherever a name is met, the same. */
function optionValues(commands: readonly CompletedCommand[]): Map<string, Values> {
  const found = new Map<string, Values>();
  for (const { names, values } of commands.flatMap(({ options }) => options)) {
    if (values === null || values === "anything") continue;
    for (const name of names) {
      const other = found.get(name);
      if (other !== undefined && JSON.stringify(other) !== JSON.stringify(values)) {
        throw new Error(`${name} takes other values elsewhere: completions don't tell them apart`);
      }
      found.set(name, values);
    }
  }
  return found;
}

// ---- bash

function bashScript(root: CompletedCommand): string {
  const commands = all(root);
  const reply = (values: Values): string =>
    values === "anything"
      ? ":"
      : typeof values === "string"
      ? `compopt -o filenames; COMPREPLY=($(compgen -${values === "files" ? "f" : "d"} -- "$cur"))`
      : `COMPREPLY=($(compgen -W "${values.choices.join(" ")}" -- "$cur"))`;
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
  # --option=value comes as three words.
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
    commands.flatMap(({ path, words }) =>
      words.map((values, i) => `    "${path.join(" ")} ${i}") ${reply(values)} ;;`)
    ).join("\n")
  }
    *" 0") COMPREPLY=($(compgen -W "$commands" -- "$cur")) ;;
  esac
}
complete -F _dmnode dmnode`;
}

// ---- zsh

function zshScript(root: CompletedCommand): string {
  const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;
  // What ends a description, or begins something in it, for _arguments and _describe.
  const escaped = (text: string) => text.replace(/[\\[\]:]/g, "\\$&");
  const action = (values: Values) =>
    values === "files"
      ? "_files"
      : values === "folders"
      ? "_files -/"
      : values === "anything"
      ? " "
      : `(${values.choices.join(" ")})`;
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
      // With one for a word that may be anything, zsh lists options and inserts none.
      const words = command.words.flatMap((values, i) =>
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

// ---- fish

function fishScript(root: CompletedCommand): string {
  const quoted = (text: string) => `'${text.replace(/[\\']/g, "\\$&")}'`;
  const commands = all(root);
  const name = ({ path }: CompletedCommand) => path.join(" ");
  const takers = commands.flatMap((command) =>
    command.options.flatMap(({ names, values }) =>
      values === null ? [] : names.map((n) => quoted(`${name(command)} ${n}`))
    )
  );
  const completes = (values: Values) =>
    values === "files"
      ? "-rF"
      : values === "folders"
      ? "-xa '(__fish_complete_directories)'"
      : values === "anything"
      ? "-x"
      : `-xa ${quoted(values.choices.join(" "))}`;
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
      ...command.words.map((values, i) =>
        values === "files"
          ? `${at(`${i} ${path}`)} -F`
          : `${at(`${i} ${path}`)} ${completes(values)}`
      ),
    ];
  });
  return `
# Completes dmnode's commands, options and their values in fish. From: dmnode completion fish
# Whether the word to complete belongs to a command: __dmnode_at PLACE dmnode COMMAND..., where PLACE is the number of
# words before it that are neither commands nor options, or any.
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
