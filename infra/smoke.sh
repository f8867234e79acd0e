#!/bin/sh
# Does an installation stand? Starts the stack in a workspace of its own, asks every service, and stops it.
#
#   infra/smoke.sh            with `banyan` on the path
#   BANYAN=.venv/bin/banyan infra/smoke.sh
set -eu
banyan=${BANYAN:-banyan}
workspace=$(mktemp -d)
export BANYAN_WORKSPACE="$workspace"

finish() {
    "$banyan" down >/dev/null 2>&1 || true
    rm -rf "$workspace"
}
trap finish EXIT INT TERM

ask() { # what, url, the status that is right
    got=$(curl --noproxy '*' -s -o /dev/null -w '%{http_code}' --max-time 20 "$2" || true)
    if [ "$got" != "$3" ]; then
        echo "smoke: $1 answered $got at $2, not $3" >&2
        exit 1
    fi
    echo "smoke: $1 answers $got"
}

url() { # a service's address, from what the stack says of itself
    sed -n "s/^ *\"$1\": \"\(http[^\"]*\)\".*/\1/p" "$workspace/stack.json" | head -n 1
}

"$banyan" --help >/dev/null
"$banyan" up
ask prefect "$(url prefect)/api/health" 200
ask mlflow "$(url mlflow)/health" 200
ask gateway "$(url gateway)/healthz" 200
ask "gateway, without a champion," "$(url gateway)/readyz" 503
ask dashboard "$(url dashboard)/_stcore/health" 200
"$banyan" status
"$banyan" down
if [ -e "$workspace/stack.json" ]; then
    echo "smoke: the stack says that it still runs" >&2
    exit 1
fi
echo "smoke: all well"
