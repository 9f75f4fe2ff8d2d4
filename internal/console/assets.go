package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
	"strings"
)

//go:embed static
var staticFiles embed.FS

// assetTypes are the types of files, by the ends of their names.
var assetTypes = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml", ".txt": "text/plain; charset=utf-8",
}

// assets are the files that all pages share.
type assets struct {
	bodies map[string][]byte // by name
	hashes map[string]string // by name; a part of the URL, so that browsers keep a file for good
}

func readAssets() (assets, error) {
	a := assets{bodies: make(map[string][]byte), hashes: make(map[string]string)}
	entries, err := staticFiles.ReadDir("static")
	if err != nil {
		return a, err
	}
	for _, entry := range entries {
		body, err := staticFiles.ReadFile("static/" + entry.Name())
		if err != nil {
			return a, err
		}
		sum := sha256.Sum256(body)
		a.bodies[entry.Name()], a.hashes[entry.Name()] = body, hex.EncodeToString(sum[:8])
	}
	return a, nil
}

// serve answers a request for a file: its hash, a slash, and its name.
func (a *assets) serve(w http.ResponseWriter, r *http.Request, file string) {
	hash, name, _ := strings.Cut(file, "/")
	body, ok := a.bodies[name]
	if !ok || hash != a.hashes[name] || r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", assetTypes[path.Ext(name)])
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(body) // if the reader is gone, nobody reads the error
}
