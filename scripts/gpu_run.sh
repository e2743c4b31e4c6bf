#!/bin/sh
# Checks and times a built command on a machine with a Hopper GPU; the executable and this checkout are all it needs there.
#   scripts/gpu_run.sh build/bolide [cases] [seed] [kernels] [folder for logs]
# Exits 0 when the checks pass; the timings run whatever they say.
set -u
bolide=${1:?usage: gpu_run.sh bolide [cases] [seed] [kernels] [folder]}
cases=${2:-5000}
seed=${3:-1}
kernels=${4:-300}
logs=${5:-.}
mkdir -p "$logs"
device=cuda:0
lines=$(dirname "$0")/../tests/cases

"$bolide" info 2>&1 | tee "$logs/info.log"
nvidia-smi --query-gpu=name,driver_version,clocks.sm,power.limit --format=csv 2>/dev/null | tee -a "$logs/info.log"

# A few by hand first: their failures are the easiest to read.
"$bolide" check --device $device --keep-going \
  'fwd bf16 b=2 hq=4 hkv=2 sq=300 skv=300 d=128' \
  'fwd f16 b=1 hq=2 hkv=2 sq=257 skv=515 d=64 mask="kv<=q"' \
  'fwd bf16 b=1 hq=2 hkv=1 sq=1 skv=4097 d=128' \
  'fwd bf16 b=1 hq=2 hkv=2 sq=70 skv=90 d=80 strides=odd mask="kv<=q"' \
  'fwd_kvcache bf16 b=3 hq=4 hkv=2 sq=3 skv=100..700 d=128 kv=paged:64 mask="kv<=q"' \
  >"$logs/first.log" 2>&1
first=$?
cat "$logs/first.log"

"$bolide" check --device $device --keep-going --cases "$lines/gpu.txt" >"$logs/large.log" 2>&1
large=$?
cat "$logs/large.log"

"$bolide" check --device $device --count "$cases" --seed "$seed" --kernels "$kernels" --keep-going \
  --coverage >"$logs/check.log" 2>&1
check=$?
grep -v '^ ' "$logs/check.log" | tail -60

"$bolide" bench --device $device \
  'fwd bf16 b=2 hq=16 hkv=16 sq=4096 skv=4096 d=128' \
  'fwd bf16 b=2 hq=16 hkv=16 sq=4096 skv=4096 d=128 mask="kv<=q"' \
  'fwd bf16 b=2 hq=32 hkv=32 sq=4096 skv=4096 d=64' \
  'fwd bf16 b=2 hq=32 hkv=32 sq=4096 skv=4096 d=64 mask="kv<=q"' \
  'fwd bf16 b=2 hq=8 hkv=8 sq=4096 skv=4096 d=256' \
  'fwd bf16 b=2 hq=8 hkv=8 sq=4096 skv=4096 d=256 mask="kv<=q"' \
  'fwd bf16 b=2 hq=16 hkv=16 sq=4096 skv=4096 d=128 strides=odd' \
  'fwd_kvcache bf16 b=16 hq=32 hkv=8 sq=1 skv=8192 d=128 kv=paged:64' 2>&1 | tee "$logs/bench.log"
echo "first cases: exit $first; large cases: exit $large; random cases: exit $check"
[ $first -eq 0 ] && [ $large -eq 0 ] && [ $check -eq 0 ]
