#!/bin/sh
# Policy gate with the upstream CLI only (cedar-policy-cli 4.14): format, strict validation,
# level 2, tests. `cargo test -p hub-policy` runs the same tests without it.
# Usage: CEDAR=cedar ./check.sh
set -eu
cd "$(dirname "$0")"
CEDAR=${CEDAR:-cedar}
baseline=$(mktemp)
all=$(mktemp)
trap 'rm -f "$baseline" "$all"' EXIT
for f in baseline/*.cedar templates/*.cedar examples/*.cedar; do
  "$CEDAR" format --check --policies "$f" >/dev/null || { echo "not formatted: $f"; exit 1; }
done
cat baseline/*.cedar templates/*.cedar >"$baseline"
cat baseline/*.cedar templates/*.cedar examples/*.cedar >"$all"
for set in "$baseline" "$all"; do
  "$CEDAR" validate --schema hub.cedarschema --policies "$set" --level 2 --deny-warnings
done
for t in roles guardrails limits receipts grants; do
  "$CEDAR" run-tests --schema hub.cedarschema --policies "$baseline" --tests "tests/$t.test.json"
done
"$CEDAR" run-tests --schema hub.cedarschema --policies "$all" --tests tests/examples.test.json
