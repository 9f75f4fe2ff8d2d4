package doctor

import (
	"context"
	"encoding/json"
	"reflect"
)

// checkServer compares the configuration with the one that runs.
func (e *examination) checkServer(ctx context.Context) {
	if e.Server == nil {
		e.add(CheckServer, Skip, "", "No server with the gateway answers at the admin address of the configuration, so the running server is not asked.", "")
		return
	}
	running, err := e.Server.Config(ctx)
	if err != nil {
		e.add(CheckServer, Fail, "", "The running server cannot be asked: "+err.Error()+".", "Start the server, or correct the address of its admin API.")
		return
	}
	if !sameJSON(running, e.Config) {
		e.add(CheckServer, Warn, "", "The server runs another configuration than "+e.Source+".", "If this one is meant, load it with caddy reload.")
		return
	}
	e.add(CheckServer, Pass, "", "The server runs this configuration.", "")
}

// sameJSON reports whether two texts are the same JSON, apart from the order of members.
func sameJSON(a, b []byte) bool {
	var left, right any
	return json.Unmarshal(a, &left) == nil && json.Unmarshal(b, &right) == nil && reflect.DeepEqual(left, right)
}
