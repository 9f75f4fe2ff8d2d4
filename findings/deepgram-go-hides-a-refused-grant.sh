#!/usr/bin/env bash
# What: in deepgram-go-sdk v3.5.0, GrantToken and ListProjects return no error if the server
# refuses the request, with 401 as with 500. The result is empty. Only the library's log, which
# is off by default, has the error.
# Why it matters here: a program with a refused key gets an empty token, and hands it to a
# browser. The refusal shows up there, as a refused handshake.
# Needs: bash, Go 1.26 or later.
# Seen:
#   401 GrantToken: error <nil>, token ""
#   401 ListProjects: error <nil>, 0 projects
#   500 GrantToken: error <nil>, token ""
#   500 ListProjects: error <nil>, 0 projects
# Exit status: 0 if the output is the one above.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	authapi "github.com/deepgram/deepgram-go-sdk/v3/pkg/api/auth/v1"
	manageapi "github.com/deepgram/deepgram-go-sdk/v3/pkg/api/manage/v1"
	"github.com/deepgram/deepgram-go-sdk/v3/pkg/client/auth"
	"github.com/deepgram/deepgram-go-sdk/v3/pkg/client/interfaces"
	"github.com/deepgram/deepgram-go-sdk/v3/pkg/client/manage"
)

func main() {
	log.SetOutput(io.Discard)
	for _, status := range []int{401, 500} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, `{"err_code":"INVALID_AUTH","err_msg":"Invalid credentials.","request_id":"1"}`)
		}))
		options := &interfaces.ClientOptions{Host: server.URL}
		grant, err := authapi.New(auth.New("a-key", options)).GrantToken(context.Background(), nil)
		fmt.Printf("%d GrantToken: error %v, token %q\n", status, err, grant.AccessToken)
		projects, err := manageapi.New(manage.New("a-key", options)).ListProjects(context.Background())
		fmt.Printf("%d ListProjects: error %v, %d projects\n", status, err, len(projects.Projects))
		server.Close()
	}
}
GO
(go mod init example.com/grant && go get github.com/deepgram/deepgram-go-sdk/v3@v3.5.0 && go mod tidy && go build -o grant .) >log 2>&1 || { cat log; exit 1; }
timeout 60 ./grant 2>/dev/null | tee seen
diff seen - <<'TXT'
401 GrantToken: error <nil>, token ""
401 ListProjects: error <nil>, 0 projects
500 GrantToken: error <nil>, token ""
500 ListProjects: error <nil>, 0 projects
TXT
echo "as described"
