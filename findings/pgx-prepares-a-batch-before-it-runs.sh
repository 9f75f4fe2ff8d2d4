#!/usr/bin/env bash
# What: github.com/jackc/pgx/v5 v5.11.0, SendBatch with the default mode of queries: pgx prepares all
# statements of the batch before the server runs the first one. PostgreSQL locks the tables of a statement when it is
# prepared. So a lock_timeout that the first statement of the batch sets does not limit how long the second
# one waits, if the connection has not used the second one before.
# With a connection that has used the statement before, the same batch keeps to the lock_timeout.
# Why it matters here: a transaction that is sent as one batch must not wait for a lock for longer than it says.
# Set lock_timeout for the connection, too.
# Needs: bash, Go 1.25 or later, PostgreSQL 13 or later (Debian: postgresql); as root, the user postgres.
# Seen (lock_timeout is 200 ms, the client waits for 2 s):
#   first use: gives up after 2 s: error preprocessing batch (prepare): timeout: context deadline exceeded
#   used before: gives up before 1 s: ERROR: canceling statement due to lock timeout (SQLSTATE 55P03)
# Exit status: 0 if the output is the one above.
set -euo pipefail
dir=$(mktemp -d)
as=()
if [ "$(id -u)" = 0 ]; then as=(runuser -u postgres --); chown postgres "$dir"; fi
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1 || true)
export LC_ALL=C PATH=${bin:+$bin:}$PATH
end() {
	"${as[@]}" pg_ctl -D "$dir/data" -m immediate stop >/dev/null 2>&1 || true
	chmod -R u+w "$dir"
	rm -rf "$dir"
}
trap end EXIT
cd "$dir"
"${as[@]}" initdb -D "$dir/data" -U finding --locale=C --auth=trust --no-sync >/dev/null
"${as[@]}" pg_ctl -D "$dir/data" -l "$dir/data/log" -w -o "-c listen_addresses= -k $dir" start >/dev/null

mkdir client
cat >client/main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func connect() *pgx.Conn {
	conn, err := pgx.Connect(context.Background(), "host="+os.Args[1]+" user=finding dbname=postgres")
	must(err)
	return conn
}

func send(ctx context.Context, conn *pgx.Conn) error {
	var batch pgx.Batch
	batch.Queue(`SELECT set_config('lock_timeout', '200', TRUE)`)
	batch.Queue(`DELETE FROM things`)
	return conn.SendBatch(ctx, &batch).Close()
}

func main() {
	holder := connect()
	_, err := holder.Exec(context.Background(), `CREATE TABLE things (n BIGINT)`)
	must(err)
	used := connect()
	must(send(context.Background(), used))
	_, err = holder.Exec(context.Background(), `BEGIN; LOCK TABLE things`)
	must(err)
	for _, c := range []struct {
		name string
		conn *pgx.Conn
	}{{"first use", connect()}, {"used before", used}} {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		begun := time.Now()
		err := send(ctx, c.conn)
		cancel()
		when := "before 1 s"
		if time.Since(begun) >= 2*time.Second {
			when = "after 2 s"
		}
		fmt.Printf("%s: gives up %s: %v\n", c.name, when, err)
	}
}
GO
(
	cd client
	go mod init finding >/dev/null 2>&1
	GOFLAGS=-mod=mod go get github.com/jackc/pgx/v5@v5.11.0 >/dev/null 2>&1
	go mod tidy >/dev/null 2>&1
	go build -o ../run .
)
./run "$dir" | tee seen
diff seen - <<'TXT'
first use: gives up after 2 s: error preprocessing batch (prepare): timeout: context deadline exceeded
used before: gives up before 1 s: ERROR: canceling statement due to lock timeout (SQLSTATE 55P03)
TXT
echo "as described"
