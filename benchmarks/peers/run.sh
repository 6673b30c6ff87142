#!/usr/bin/env bash
# Builds Espalier, with ONNX Runtime from NuGet, fetches PyTorch from Debian, and runs them side by side. A full run
# takes about twenty minutes and writes docs/performance.md; with --quick about two, and with --rows TEXT only some rows are
# measured: neither touches the page. With --other-build DIR, which old-build.sh makes, an older Espalier is the only peer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

work=benchmarks/peers/.work
page=docs/performance.md
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1 DOTNET_CLI_USE_MSBUILD_SERVER=0 MSBUILDDISABLENODEREUSE=1

missing() {
    /usr/bin/python3 -c 'import torch, numpy' 2>/dev/null || echo python3-torch
    /usr/bin/python3 -c 'import torchvision' 2>/dev/null || echo python3-torchvision
    [[ -d /usr/share/datasets/fashion-mnist ]] || echo dataset-fashion-mnist
}

download() { apt-get -q -o APT::Sandbox::User=root download libopenblas0-openmp; }

fetch_peers() {
    read -r -d '' -a packages < <(missing) || true
    if ((${#packages[@]} > 0)); then
        if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
            echo "missing packages: ${packages[*]}; install them and run this again" >&2
            exit 1
        fi
        export DEBIAN_FRONTEND=noninteractive
        apt-get -y -q update >/dev/null
        apt-get -y -q install --no-install-recommends "${packages[@]}" >/dev/null
    fi

    # Debian's PyTorch takes whatever BLAS the system has, which may be the plain reference one. It is at its best with OpenBLAS
    # on the same OpenMP threads as its own; unpacked here, it changes nothing in the system.
    if ! compgen -G "$work/openblas/usr/lib/*/openblas-openmp/libblas.so.3" >/dev/null; then
        mkdir -p "$work/openblas"
        (cd "$work/openblas" && { download || { apt-get -y -q update && download; }; } &&
            dpkg -x libopenblas0-openmp_*.deb .) >/dev/null
    fi
}

peers=yes
for argument in "$@"; do
    if [[ $argument == --other-build* ]]; then peers=no; fi
done
if [[ $peers == yes ]]; then fetch_peers; fi

dotnet build -c Release benchmarks/peers/Espalier.Peers -v q -p:UseSharedCompilation=false
exec benchmarks/peers/Espalier.Peers/bin/Release/net10.0/Espalier.Peers --work "$work" --scripts benchmarks/peers --page "$page" "$@"
