#!/usr/bin/env bash
# `make run`: Redis, the demo origin and Envoy with the module, until Ctrl-C.
set -euo pipefail
cd "$(dirname "$0")/.."

logs=target/run
mkdir -p "$logs"
pids=()
stop() {
  trap - EXIT INT TERM
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
}
trap stop EXIT
trap 'exit 0' INT TERM

for port in 10000 9901 15001 16379; do
  if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    echo "port $port is in use: stop what listens there, then try again" >&2
    exit 1
  fi
done

# wait_for PORT NAME PID: until the port answers, or the part ends.
wait_for() {
  for _ in $(seq 300); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return; fi
    kill -0 "$3" 2>/dev/null || break
    sleep 0.1
  done
  echo "$2 did not start; its log is $logs/$2.log:" >&2
  tail -n 20 "$logs/$2.log" >&2
  exit 1
}

redis-server --port 16379 --bind 127.0.0.1 --save '' --appendonly no >"$logs/redis.log" 2>&1 &
pids+=($!); wait_for 16379 redis $!
target/release/examples/demo_origin --port 15001 --latency 10 >"$logs/origin.log" 2>&1 &
pids+=($!); wait_for 15001 origin $!
.tools/venv/bin/envoy -c envoy/event2table.yaml --concurrency 2 --disable-hot-restart -l info \
  >"$logs/envoy.log" 2>&1 &
pids+=($!); wait_for 10000 envoy $!

cat <<'TEXT'

Tiercel is running:  http://127.0.0.1:10000/api/games      (logs: target/run/)

Try, in another terminal:
  curl -i http://127.0.0.1:10000/api/games                 a miss: Cache-Status says fwd=uri-miss; stored
  curl -i http://127.0.0.1:10000/api/games                 again: hit; detail=l1, or detail=l2 when Envoy's
                                                           other worker answers for the first time
  curl -i 'http://127.0.0.1:10000/api/games?utm=x'         still a hit: utm is no part of the identity
  curl -i http://127.0.0.1:10000/api/games/999             an unknown game: detail=absent, the origin is not asked
  curl -i http://127.0.0.1:10000/api/events/1              a bypass: without game_gid it depends on the session
  redis-cli -p 16379 keys '*'                              what L2 holds
  redis-cli -p 16379 shutdown nosave                       Redis gone: requests go on
  curl -s http://127.0.0.1:9901/stats/prometheus | grep ^tiercel_
  curl -s http://127.0.0.1:15001/__origin/stats            what the origin was asked

Ctrl-C stops everything.
TEXT
wait "${pids[2]}"
