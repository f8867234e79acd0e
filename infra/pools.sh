#!/bin/sh
# Makes the work pools on the Prefect server that PREFECT_API_URL names. Again is harmless.
#
#   cpu   flow runs as processes of the machine whose worker polls it
#   gpu   the same on machines with a GPU; one training a device at a time, by a lock on the machine
#
# A worker for a pool, on a machine where the package is installed:
#
#   prefect worker start --pool gpu --type process
#
# with BANYAN_PREFECT_URL, BANYAN_MLFLOW_URL, BANYAN_LEDGER_URL and BANYAN_DATA_REMOTE set to the shared services.
set -eu
for pool in cpu gpu; do
    prefect work-pool inspect "$pool" >/dev/null 2>&1 ||
        prefect work-pool create "$pool" --type process --base-job-template "$(dirname "$0")/work-pool.json"
done
prefect work-pool set-concurrency-limit cpu 8
