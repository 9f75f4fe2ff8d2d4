#!/usr/bin/env bash
# What: PostgreSQL 15, two standbys of one primary, each promoted apart from the other, as when two operators
# act at once. Both write timeline 2, and WAL files with the same names. pg_rewind, which is to make one of them
# follow the other, compares the numbers only: it says that no rewind is required, and exits with 0.
# Each server still has a row that the other one lacks.
# Why it matters here: the number of a timeline does not tell whether two servers have the same
# history. The keystore gives each timeline a name, in a row that is written after the promotion.
# Needs: bash, PostgreSQL 15 (Debian 12: postgresql-15); as root, the user postgres.
# Seen:
#   a: timeline 2, rows before a
#   b: timeline 2, rows before b
#   pg_rewind: no rewind required, status 0
# Exit status: 0 if the output is the one above.
set -euo pipefail
dir=$(mktemp -d)
export LC_ALL=C PATH=/usr/lib/postgresql/15/bin:$PATH PGHOST=$dir PGUSER=finding PGDATABASE=postgres
as=()
if [ "$(id -u)" = 0 ]; then as=(runuser -u postgres --); chown postgres "$dir"; fi
declare -A port=([primary]=5501 [a]=5502 [b]=5503) # names of sockets in the folder, and no ports of the machine
ctl() { "${as[@]}" pg_ctl -D "$dir/$1" -l "$dir/$1.log" -w "${@:2}" >/dev/null; }
start() { ctl "$1" -o "-c listen_addresses= -k $dir -p ${port[$1]} -c wal_log_hints=on" start; }
sql() { psql -p "${port[$1]}" -XAtqc "$2"; }
end() {
	for name in primary a b; do ctl "$name" -m immediate stop 2>/dev/null || true; done
	rm -rf "$dir"
}
trap end EXIT
cd "$dir"
"${as[@]}" initdb -D "$dir/primary" -U finding --auth=trust --no-sync >/dev/null
start primary
sql primary "CREATE TABLE things (name TEXT); INSERT INTO things VALUES ('before')"
for name in a b; do
	"${as[@]}" pg_basebackup -D "$dir/$name" -p "${port[primary]}" -R -X stream -c fast --no-sync
	start "$name"
done
ctl primary -m fast stop
for name in a b; do
	ctl "$name" promote
	sql "$name" "INSERT INTO things VALUES ('$name')"
	sql "$name" CHECKPOINT
done
for name in a b; do
	echo "$name: timeline $(sql "$name" 'SELECT timeline_id FROM pg_control_checkpoint()'), rows $(sql "$name" "SELECT string_agg(name, ' ') FROM things")"
done | tee seen
ctl b -m fast stop
status=0
"${as[@]}" pg_rewind --target-pgdata="$dir/b" --source-server="host=$dir port=${port[a]} user=finding dbname=postgres" >rewind 2>&1 || status=$?
echo "pg_rewind: $(grep -o 'no rewind required' rewind || cat rewind), status $status" | tee -a seen
diff seen - <<'TXT'
a: timeline 2, rows before a
b: timeline 2, rows before b
pg_rewind: no rewind required, status 0
TXT
echo "as described"
