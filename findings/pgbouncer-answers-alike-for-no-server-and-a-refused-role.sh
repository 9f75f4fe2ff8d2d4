#!/usr/bin/env bash
# What: PgBouncer 1.18 in front of PostgreSQL 15. After the first try, a client gets the same answer, with the same
# SQLSTATE, while the server is stopped and while the server runs and lets the role in no more. 08P01 is the code of a
# protocol violation, and so neither that of a server that is away (class 57 or 08006) nor that of a refusal (class 28).
# Why it matters here: a gateway at an edge site answers from its replica only if the database does not answer, and
# not if the database refuses the gateway. Behind PgBouncer it cannot tell the two apart.
# Needs: bash, PostgreSQL 15 and PgBouncer 1.18 (Debian 12: postgresql-15, pgbouncer); as root, the user postgres.
# Seen:
#   the role may not log in: FATAL:  08P01: server login has been failing, try again later (server_login_retry)
#   the server is stopped: FATAL:  08P01: server login has been failing, try again later (server_login_retry)
# Exit status: 0 if the output is the one above.
set -euo pipefail
dir=$(mktemp -d)
export LC_ALL=C PATH=/usr/lib/postgresql/15/bin:$PATH PGHOST=$dir PGDATABASE=postgres PGCONNECT_TIMEOUT=10
as=()
if [ "$(id -u)" = 0 ]; then as=(runuser -u postgres --); chown postgres "$dir"; fi
ctl() { "${as[@]}" pg_ctl -D "$dir/data" -l "$dir/log" -w "$@" >/dev/null; }
end() {
	kill "$pooler" 2>/dev/null || true
	ctl -m immediate stop 2>/dev/null || true
	rm -rf "$dir"
}
pooler=
trap end EXIT
cd "$dir"
pgbouncer --version | grep -q '1\.18\.' || { echo "this is not PgBouncer 1.18: $(pgbouncer --version)" >&2; exit 1; }
"${as[@]}" initdb -D "$dir/data" -U owner --auth=trust --no-sync >/dev/null
ctl -o "-c listen_addresses= -k $dir -p 5504" start # names of sockets in the folder, and no ports of the machine
psql -p 5504 -U owner -Xqc 'CREATE ROLE gateway LOGIN'
cat >pgbouncer.ini <<INI
[databases]
postgres = host=$dir port=5504
[pgbouncer]
listen_addr =
listen_port = 5505
unix_socket_dir = $dir
auth_type = trust
auth_file = $dir/users
pool_mode = transaction
server_login_retry = 60
logfile = $dir/pgbouncer.log
INI
echo '"gateway" ""' >users
chmod 644 pgbouncer.ini users
"${as[@]}" pgbouncer pgbouncer.ini >/dev/null 2>&1 &
pooler=$!
ask() { timeout 2 psql -p 5505 -U gateway -XAtq -v VERBOSITY=verbose -c 'SELECT 1' 2>&1 || true; }
# answer prints what clients get after the first one, which waits while PgBouncer tries to reach the server.
answer() {
	ask >/dev/null
	echo "$1: $(ask | grep -o 'FATAL:.*')"
}
until [ "$(ask)" = 1 ]; do sleep 0.1; done
psql -p 5504 -U owner -Xqc 'ALTER ROLE gateway NOLOGIN'
psql -p 5504 -U owner -XAtqc "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gateway'" >/dev/null
answer 'the role may not log in' | tee seen
psql -p 5504 -U owner -Xqc 'ALTER ROLE gateway LOGIN'
kill "$pooler"
wait "$pooler" 2>/dev/null || true
"${as[@]}" pgbouncer pgbouncer.ini >/dev/null 2>&1 &
pooler=$!
until [ "$(ask)" = 1 ]; do sleep 0.1; done
ctl -m fast stop
answer 'the server is stopped' | tee -a seen
diff seen - <<'TXT'
the role may not log in: FATAL:  08P01: server login has been failing, try again later (server_login_retry)
the server is stopped: FATAL:  08P01: server login has been failing, try again later (server_login_retry)
TXT
echo "as described"
