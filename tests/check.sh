# shellcheck shell=bash
# Sourced by tests that are shell scripts. Counts checks, and prints the totals.

passed=0 failed=0

# check NAME COMMAND...
check() {
  local name=$1
  shift
  if "$@"; then
    passed=$((passed + 1))
    echo "ok   $name"
  else
    failed=$((failed + 1))
    echo "FAIL $name"
  fi
}

equal() { [ "$1" = "$2" ] || { echo "     \"$1\" is not \"$2\""; false; }; }

totals() {
  if [ "$failed" -eq 0 ]; then local word=ok; else local word=FAILED; fi
  echo "$word | $passed passed | $failed failed"
}
