#!/usr/bin/env bash
# Trains in four processes, each in a network of its own (a namespace with its own address and host name), joined by a bridge that
# delays and loses packets, and compares the weights with those of the same run over a good network. As root, with iproute2 and openmpi-bin:
#   bash scripts/mpi-network.sh [delay] [loss]          default: 1ms 0.5%
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
delay=${1:-1ms} loss=${2:-0.5%} ranks=4 steps=40
[[ $(id -u) == 0 ]] || { echo "networks can be made by root only" >&2; exit 1; }
for tool in ip tc mpirun; do
    command -v "$tool" >/dev/null || { echo "$tool is missing: install iproute2 and openmpi-bin" >&2; exit 1; }
done
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1
dotnet build src/Espalier.Cli -c Release -v q
espalier=$PWD/src/Espalier.Cli/bin/Release/net10.0/espalier.dll
work=$(mktemp -d)

clean() {
    for i in $(seq "$ranks"); do ip netns del "espalier$i" 2>/dev/null || true; done
    ip link del espalier0 2>/dev/null || true
    rm -rf "$work"
}
trap clean EXIT

ip link add espalier0 type bridge
ip link set espalier0 up
hosts=()
for i in $(seq "$ranks"); do
    ip netns add "espalier$i"
    ip link add "espalier0-$i" type veth peer name net0 netns "espalier$i"
    ip link set "espalier0-$i" master espalier0 up
    ip -n "espalier$i" addr add "10.97.0.$i/24" dev net0
    ip -n "espalier$i" link set net0 up
    ip -n "espalier$i" link set lo up
    hosts+=("10.97.0.$i:1")
done

# What mpirun calls to start something on another host: NAME COMMAND.
cat >"$work/agent" <<'AGENT'
#!/usr/bin/env bash
host=$1
shift
exec ip netns exec "espalier${host##*.}" unshare --uts sh -c "hostname node${host##*.}; $*"
AGENT
chmod +x "$work/agent"

train=(dotnet "$espalier" train --data fashion-mnist --model-type vit-small-28 --method none --num-steps "$steps"
    --train-batch-size 64 --eval-every 0 --eval-limit 100 --threads 1 --output-dir "$work")

run() {
    local name=$1 started
    started=$(date +%s.%N)
    "$work/agent" 10.97.0.1 "mpirun --allow-run-as-root -n $ranks --host $(IFS=,; echo "${hosts[*]}") --bind-to none \
        --mca plm_rsh_agent $work/agent --mca btl tcp,self --mca btl_tcp_if_include 10.97.0.0/24 \
        --mca oob_tcp_if_include 10.97.0.0/24 -x DOTNET_NOLOGO ${train[*]} --name $name" >"$work/$name.log" 2>&1 ||
        { cat "$work/$name.log"; exit 1; }
    echo "$name: $steps steps in $(echo "$(date +%s.%N) - $started" | bc) s, with start and evaluation"
}

# A kernel without netem has a slow line with a short queue instead, which delays packets and drops what does not fit.
worse="delay $delay and loss $loss"
slow() {
    ip netns exec "espalier$1" tc qdisc add dev net0 root netem delay "$delay" loss "$loss" 2>/dev/null && return
    ip netns exec "espalier$1" tc qdisc add dev net0 root tbf rate 100mbit burst 16k limit 60k
    worse="a line of 100 Mbit/s that drops what does not fit into 60 kB"
}

run plain
for i in $(seq "$ranks"); do slow "$i"; done
run slowed
cmp "$work/plain.safetensors" "$work/slowed.safetensors"
for i in $(seq "$ranks"); do ip netns exec "espalier$i" tc -s qdisc show dev net0 | grep -o 'Sent.*dropped [0-9]*' | tr -d '('; done
echo "$worse: the time changes, no bit of the weights does"
