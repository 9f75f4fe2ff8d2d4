// Command floor is Caddy with the cheapest possible check of a key: a digest, a lookup in
// a map, a comparison of the client's address, and the upstream key in place of the
// client's key. Its cost is the floor under every gate inside Caddy.
//
// With jobs, it also does the least that a gate must do about jobs: a second lookup in a
// map, and a writer that forbids caching of the answers and searches each piece for the
// upstream key and for the job's state. A request with its key in the query has no job.
//
// With "cost", it also uses about as much time, garbage and heap as the gate, for nothing.
// The latency that this adds is the latency that such costs add in any case.
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func main() {
	caddy.RegisterModule(new(floor))
	httpcaddyfile.RegisterHandlerDirective("bench_floor", parse)
	httpcaddyfile.RegisterDirectiveOrder("bench_floor", httpcaddyfile.Before, "reverse_proxy")
	caddycmd.Main()
}

// floor lets requests through whose key is in a file.
type floor struct {
	Secrets  string `json:"secrets"`  // a file with a secret in each line
	Upstream string `json:"upstream"` // the upstream key
	Jobs     string `json:"jobs"`     // a file with a job ID in each line; empty to check keys only
	Cost     string `json:"cost"`     // "cost" to cost as much as the gate

	keys    map[[sha256.Size]byte]allowed
	jobs    map[[sha256.Size]byte]allowed
	allowed []netip.Prefix
	ballast []byte // nobody reads it
}

// The costs of the gate beyond the floor, measured with 100,000 keys in use.
const (
	costHeap    = 11 << 20               // more bytes for records
	costTime    = 2500 * time.Nanosecond // more time for each request, without the garbage
	costObjects = 3                      // more objects for each request
)

// garbage has the size of a small object that lives for one request.
type garbage struct {
	next *garbage
	_    [112]byte
}

// allowed is the number of an address rule. Records with pointers would be work for the
// garbage collector.
type allowed uint8

// CaddyModule implements [caddy.Module].
func (*floor) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.bench_floor", New: func() caddy.Module { return new(floor) }}
}

func parse(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	f := new(floor)
	h.Next()
	if !h.Args(&f.Secrets, &f.Upstream) {
		return nil, h.ArgErr()
	}
	if h.Args(&f.Jobs, &f.Cost) && f.Cost != "cost" {
		return nil, h.Errf("argument %q: want cost, or nothing", f.Cost)
	}
	return f, nil
}

// Provision reads the files.
func (f *floor) Provision(caddy.Context) (err error) {
	f.allowed = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	if f.Cost != "" {
		f.ballast = make([]byte, costHeap)
	}
	if f.keys, err = read(f.Secrets); err == nil && f.Jobs != "" {
		f.jobs, err = read(f.Jobs)
	}
	return err
}

func read(name string) (map[[sha256.Size]byte]allowed, error) {
	file, err := os.Open(name) //nolint:gosec // the benchmark's configuration names the file
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	found := make(map[[sha256.Size]byte]allowed)
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		found[sha256.Sum256(lines.Bytes())] = 0
	}
	return found, lines.Err()
}

// ServeHTTP lets a request through or refuses it.
func (f *floor) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	secret, inHeader := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	query := r.URL.RawQuery
	if !inHeader { // the key is the last parameter of the query
		query, secret, _ = strings.Cut(query, "u=")
		query += "u=" + f.Upstream
	}
	rule, known := f.keys[sha256.Sum256([]byte(secret))]
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	client, _ := netip.ParseAddr(text) // an address that does not parse is in no prefix
	if !known || !f.allowed[rule].Contains(client) {
		w.WriteHeader(http.StatusUnauthorized)
		return nil
	}
	if inHeader {
		r.Header.Set("Authorization", "Bearer "+f.Upstream)
	}
	r.URL.RawQuery = query
	if f.jobs == nil {
		return next.ServeHTTP(w, r)
	}
	if owner, known := f.jobs[sha256.Sum256([]byte(path.Base(r.URL.Path)))]; inHeader && (!known || owner != rule) {
		w.WriteHeader(http.StatusNotFound)
		return nil
	}
	r.Header.Set("Accept-Encoding", "identity")
	watched := &answer{ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, key: []byte(f.Upstream), spent: f.spend()}
	return next.ServeHTTP(watched, r)
}

// answer is an answer to the client.
type answer struct {
	caddyhttp.ResponseWriterWrapper
	key   []byte
	ended bool
	spent *garbage // nobody reads it
}

// spend uses the time and the garbage that the gate would use.
func (f *floor) spend() (all *garbage) {
	if f.Cost == "" {
		return nil
	}
	spins := 0
	for begun := time.Now(); time.Since(begun) < costTime; {
		spins++
	}
	for range costObjects {
		all = &garbage{next: all}
	}
	return all
}

func (a *answer) WriteHeader(status int) {
	header := a.Header()
	header.Del("Set-Cookie")
	for name, values := range header {
		if slices.ContainsFunc(values, func(value string) bool { return strings.Contains(value, string(a.key)) }) {
			header.Del(name)
		}
	}
	header.Set("Cache-Control", "no-store")
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	a.ended = a.ended || bytes.Contains(p, []byte(`"status":"completed"`)) // only the search counts
	if bytes.Contains(p, a.key) {
		return 0, errors.New("the answer has the backend's key")
	}
	return a.ResponseWriter.Write(p)
}

// ReadFrom calls Write, which must see every byte.
func (a *answer) ReadFrom(src io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{a}, src)
}
