#!/bin/sh
# One build on three kinds of machine, played on one with a GPU: no driver; a driver and a pack, but no NVRTC; both.
#   scripts/gpu_machines.sh build/bolide [folder with libnvrtc.so]
# Exits 0 when each behaves as it should.
set -u
bolide=$(realpath "${1:?usage: gpu_machines.sh bolide [nvrtc folder]}")
nvrtc=${2:-${BOLIDE_NVRTC:-}}
case='fwd_kvcache bf16 b=3 hq=8 hkv=2 sq=1 skv=4000 d=128 kv=paged:64 mask="kv<=q" seed=5'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
# expect NAME EXIT PART-OF-THE-OUTPUT COMMAND...
expect() {
  name=$1 code=$2 part=$3
  shift 3
  "$@" >"$work/out" 2>&1
  got=$?
  if [ $got -eq "$code" ] && grep -qF "$part" "$work/out"; then
    echo "ok      $name"
  else
    echo "FAILED  $name: exit $got, expected $code with \"$part\":"
    sed 's/^/        /' "$work/out"
    failed=1
  fi
}
export BOLIDE_CACHE_DIR="$work/cache"
mkdir -m 700 "$work/cache" "$work/nodriver"
: >"$work/nodriver/libcuda.so.1" # the loader finds this first, and it is no library
nodriver="$work/nodriver${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"

expect 'no driver: the CPU serves' 0 '1 passed' env LD_LIBRARY_PATH="$nodriver" "$bolide" check 'fwd bf16 sq=9 skv=9 d=16'
expect 'no driver: a GPU is refused with a sentence' 5 'there is no NVIDIA driver here' \
  env LD_LIBRARY_PATH="$nodriver" "$bolide" check "$case" --device cuda:0
expect 'a driver that shows no device' 5 'CUDA' env CUDA_VISIBLE_DEVICES= "$bolide" check "$case" --device cuda:0
expect 'a driver and NVRTC: compiled and checked' 0 '1 passed' env ${nvrtc:+BOLIDE_NVRTC="$nvrtc"} \
  "$bolide" check "$case" --device cuda:0
# A check needs the kernels of the case and of its count test: out in float32.
expect 'a pack is made' 0 'kernels for 2 cases' env ${nvrtc:+BOLIDE_NVRTC="$nvrtc"} "$bolide" pack "$work/a.pack" "$case" \
  'fwd_kvcache bf16 b=3 hq=8 hkv=2 sq=1 skv=4000 d=128 kv=paged:64 mask="kv<=q" out=f32'
export BOLIDE_CACHE_DIR="$work/other"
mkdir -m 700 "$work/other"
expect 'a driver and a pack, no NVRTC: checked' 0 '1 passed' env BOLIDE_NVRTC=none BOLIDE_PACK="$work/a.pack" \
  "$bolide" check "$case" --device cuda:0
expect 'a driver, no NVRTC and no pack: refused with a sentence' 5 'NVRTC' env BOLIDE_NVRTC=none \
  "$bolide" check "$case" --device cuda:0
head -c 4000 "$work/a.pack" >"$work/cut.pack"
expect 'a damaged pack is named' 3 'is not a pack that can be used' env BOLIDE_PACK="$work/cut.pack" \
  "$bolide" check "$case" --device cuda:0
exit $failed
