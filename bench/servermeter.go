//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// serverMeter measures what a PostgreSQL server on this machine does.
type serverMeter struct {
	db     *pgx.Conn
	main   int // process of the server that has started the others
	own    int // process of the server for db
	traced *relay
}

// serverUse is what a server has used since its start.
type serverUse struct {
	at        time.Time
	cpu       float64 // µs of all its processes
	exchanges float64 // messages from the gateways; the server answers each
	network   float64 // bytes in both directions
	log       float64 // bytes of its log (WAL)
}

// meterServer returns a meter, and a connection string that leads to the server through the meter.
func meterServer(ctx context.Context, dsn string) (m *serverMeter, through string, err error) {
	u, err := url.Parse(dsn)
	if err != nil || u.Hostname() == "" {
		return nil, "", errors.New("-postgres: want a URL with a host of this machine, such as postgres://bench@127.0.0.1/empty")
	}
	m = new(serverMeter)
	if m.db, err = pgx.Connect(ctx, dsn); err != nil {
		return nil, "", errors.New("-postgres: the server cannot be reached") // the error has the user
	}
	if err := m.findProcesses(ctx); err != nil {
		m.end(ctx)
		return nil, "", err
	}
	port := u.Port()
	if port == "" {
		port = "5432"
	}
	if m.traced, err = newRelay(ctx, net.JoinHostPort(u.Hostname(), port)); err != nil {
		m.end(ctx)
		return nil, "", err
	}
	u.Host = m.traced.listener.Addr().String()
	return m, u.String(), nil
}

func (m *serverMeter) findProcesses(ctx context.Context) error {
	if err := m.db.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&m.own); err != nil {
		return err
	}
	fields, err := statOf(m.own)
	if err != nil || fields[0] != "postgres" {
		return fmt.Errorf("the server's process %d is not on this machine: its processor time cannot be measured", m.own)
	}
	m.main, err = strconv.Atoi(fields[2])
	return err
}

func (m *serverMeter) end(ctx context.Context) {
	_ = m.db.Close(context.WithoutCancel(ctx)) // it has read only
	if m.traced != nil {
		_ = m.traced.listener.Close()
	}
}

// statOf returns the fields of /proc/PID/stat from the name of the program on: the name, the state, the
// parent.
func statOf(pid int) ([]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	_, after, _ := strings.Cut(string(text), "(")
	name, rest, found := strings.Cut(after, ") ")
	fields := append([]string{name}, strings.Fields(rest)...)
	if !found || len(fields) < 20 {
		return nil, fmt.Errorf("/proc/%d/stat: %q", pid, text)
	}
	return fields, nil
}

// processes returns the processes of the server.
func (m *serverMeter) processes() ([]int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", m.main))
	if err != nil {
		return nil, err
	}
	all := []int{m.main}
	for field := range strings.FieldsSeq(string(text)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, err
		}
		all = append(all, pid)
	}
	return all, nil
}

// tick is the unit of times in /proc/PID/stat, in µs.
const tick = 10_000

// cpu returns the processor time of the server, in µs. That of processes that have ended is in the times of
// the children of the first one.
func (m *serverMeter) cpu() (used float64, err error) {
	all, err := m.processes()
	if err != nil {
		return 0, err
	}
	for _, pid := range all {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
		if pid == m.own || err != nil {
			continue // it has ended meanwhile
		}
		running, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseFloat(running, 64)
		if err != nil {
			return 0, err
		}
		used += ns / 1e3
	}
	fields, err := statOf(m.main)
	if err != nil {
		return 0, err
	}
	for _, field := range fields[14:16] { // cutime, cstime
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return 0, err
		}
		used += ticks * tick
	}
	return used, nil
}

// read returns what the server has used.
func (m *serverMeter) read(ctx context.Context) (u serverUse, err error) {
	if u.cpu, err = m.cpu(); err != nil {
		return u, err
	}
	u.at, u.exchanges, u.network = time.Now(), float64(m.traced.messages.Load()), float64(m.traced.bytes.Load())
	err = m.db.QueryRow(ctx, `SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')`).Scan(&u.log)
	return u, err
}

// connections returns how many connections clients have to the database, and how much memory the process
// of one takes, in KiB: what it shares with others counts for each of them in part.
func (m *serverMeter) connections(ctx context.Context) (n int, each float64, err error) {
	var all float64
	rows, err := m.db.Query(ctx, `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> $1`, m.own)
	if err != nil {
		return 0, 0, err
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		return 0, 0, err
	}
	for _, pid := range pids {
		text, err := procField(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss")
		if err != nil {
			continue // it has ended meanwhile
		}
		kib, err := strconv.ParseFloat(strings.TrimSuffix(text, " kB"), 64)
		if err != nil {
			return 0, 0, err
		}
		all += kib
		n++
	}
	if n == 0 {
		return 0, 0, errors.New("the memory of no connection can be read")
	}
	return n, all / float64(n), nil
}

// relay passes connections on to a server, and counts the bytes, and the messages to the server: the
// client library writes each at once.
type relay struct {
	listener        net.Listener
	bytes, messages atomic.Int64
}

func newRelay(ctx context.Context, to string) (*relay, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{listener: listener}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go r.pass(ctx, client, to)
		}
	}()
	return r, nil
}

// pass passes one connection on, until one side ends it.
func (r *relay) pass(ctx context.Context, client net.Conn, to string) {
	defer func() { _ = client.Close() }()
	server, err := new(net.Dialer).DialContext(ctx, "tcp", to)
	if err != nil {
		return // the client sees that the connection ends
	}
	defer func() { _ = server.Close() }()
	back := make(chan struct{})
	go func() {
		defer close(back)
		_, _ = io.Copy(client, counted{server, &r.bytes, nil}) // an error ends the connection
		_ = client.Close()
	}()
	_, _ = io.Copy(server, counted{client, &r.bytes, &r.messages})
	_ = server.Close()
	<-back
}

// counted counts the bytes that are read, and how often, if reads is not nil.
type counted struct {
	io.Reader

	n, reads *atomic.Int64
}

// Read implements [io.Reader].
func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	if c.reads != nil && n > 0 {
		c.reads.Add(1)
	}
	return n, err
}
