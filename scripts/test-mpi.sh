#!/usr/bin/env bash
# Installs Open MPI where it lacks and tests training in several processes: real ones under mpirun, and ranks that are threads.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1 MSBUILDDISABLENODEREUSE=1 DOTNET_CLI_USE_MSBUILD_SERVER=0
if [[ ! -x /usr/bin/mpirun ]]; then
    [[ $(id -u) == 0 ]] || { echo "mpirun is missing: install openmpi-bin and run this again" >&2; exit 1; }
    export DEBIAN_FRONTEND=noninteractive
    apt-get -y -q update >/dev/null
    apt-get -y -q install --no-install-recommends openmpi-bin >/dev/null
fi
export ESPALIER_EXPECT_MPI=1
dotnet test tests/Espalier.Tests -c Release --filter "FullyQualifiedName~RanksTests|FullyQualifiedName~SyncBatchNorm"
dotnet test tests/Espalier.Cli.Tests -c Release --filter FullyQualifiedName~MpiTests
dotnet test tests/Espalier.Reproduce.Tests -c Release --filter FullyQualifiedName~WorkShareTests
