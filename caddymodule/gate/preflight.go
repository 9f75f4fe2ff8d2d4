package gate

import (
	"net/http"

	"github.com/speechgate/speechgate/policy"
)

// answersPreflight answers a preflight request (CORS) for an operation that the dialect lists
// or also_allow opens. It returns false if r is not such a request.
func (g *Gate) answersPreflight(w http.ResponseWriter, r *http.Request) bool {
	method := g.CORS.PreflightMethod(r)
	if method == "" {
		return false
	}
	path := r.URL.EscapedPath()
	op := g.api.Classify(method, path).Operation
	if _, allowed := g.allowance(g.api, method, path); !allowed && (op == policy.Unlisted || op == policy.Stream) {
		return false
	}
	g.CORS.ServePreflight(w, r, append(g.api.Methods(path), g.allowedMethods(path)...), g.api.RequestHeaders, g.CORSHeaders)
	return true
}
