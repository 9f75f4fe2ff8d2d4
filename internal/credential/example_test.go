package credential_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/policy"
)

// forBackend takes a request through the calls in their order: Scan, ReadForm, Key and
// Rewrite. A gateway looks the key up before it rewrites the request.
func forBackend(r *http.Request) {
	api := dialect.AmiVoice
	found := credential.Scan(r, api, api.Classify(r.Method, r.URL.EscapedPath()).Route)
	if found.NeedsForm() {
		defer found.ReleaseBudget()
		if err := found.ReadForm(nil, r, 64<<10, nil); err != nil {
			fmt.Println("the client went away:", err)
			return
		}
	}
	key, fault := found.Key()
	if fault != nil {
		fmt.Println("refused:", fault)
		return
	}
	fmt.Println("key:", key.Reveal())
	found.Rewrite(r, credential.ReplaceWith(policy.NewSecret("UPSTREAM")))
}

func ExampleScan_header() {
	r := httptest.NewRequest(http.MethodGet, "/v1/recognitions/job1", nil)
	r.Header.Set("Authorization", "Bearer CLIENT")
	forBackend(r)
	fmt.Println("Authorization:", r.Header.Get("Authorization"))

	r = httptest.NewRequest(http.MethodGet, "/v1/recognitions/job1?u=CLIENT", nil)
	forBackend(r)

	// Output:
	// key: CLIENT
	// Authorization: Bearer UPSTREAM
	// refused: credential_missing: the key is in the query's u, where this operation reads none: want it in the header Authorization: Bearer
}

func ExampleScan_query() {
	r := httptest.NewRequest(http.MethodPost, "/v1/recognize?d=-a-general&u=CLIENT&c=16K", strings.NewReader("RIFF"))
	forBackend(r)
	fmt.Println("query:", r.URL.RawQuery)

	// The key is in two places: once as u, once as a pair in d.
	r = httptest.NewRequest(http.MethodPost, "/v1/recognize?u=CLIENT&d=-a-general+authorization%3DCLIENT", strings.NewReader("RIFF"))
	forBackend(r)
	fmt.Println("query:", r.URL.RawQuery)

	r = httptest.NewRequest(http.MethodPost, "/v1/recognize?u=CLIENT&u=OTHER", strings.NewReader("RIFF"))
	forBackend(r)

	// PHP reads U%5B%5D as an array, and some parsers ignore case.
	r = httptest.NewRequest(http.MethodPost, "/v1/recognize?u=CLIENT&U%5B%5D=OTHER", strings.NewReader("RIFF"))
	forBackend(r)

	// Output:
	// key: CLIENT
	// query: d=-a-general&u=UPSTREAM&c=16K
	// key: CLIENT
	// query: u=UPSTREAM&d=-a-general+authorization%3DUPSTREAM
	// refused: credential_ambiguous: two keys that differ
	// refused: request_malformed: the query's parameter u is spelled in another way
}

func ExampleScan_form() {
	body := strings.ReplaceAll(`--B
Content-Disposition: form-data; name="u"

CLIENT
--B
Content-Disposition: form-data; name="a"; filename="t.wav"

RIFF…
--B--
`, "\n", "\r\n")
	r := httptest.NewRequest(http.MethodPost, "/v1/recognize", strings.NewReader(body))
	r.Header.Set("Content-Type", "multipart/form-data; boundary=B")
	forBackend(r)
	rewritten, _ := io.ReadAll(r.Body)
	fmt.Print(strings.ReplaceAll(string(rewritten), "\r\n", "\n"))

	// Output:
	// key: CLIENT
	// --B
	// Content-Disposition: form-data; name="u"
	//
	// UPSTREAM
	// --B
	// Content-Disposition: form-data; name="a"; filename="t.wav"
	//
	// RIFF…
	// --B--
}

func ExampleScanCommand() {
	command, fault := credential.ScanCommand(`s 16K -a-general authorization=CLIENT profileWords="a b"`, "s", "authorization")
	if fault != nil {
		fmt.Println("refused:", fault)
		return
	}
	key := command.Key()
	fmt.Println("key:", key.Reveal())
	fmt.Println(command.Rewrite(credential.ReplaceWith(policy.NewSecret("UPSTREAM"))))

	// Output:
	// key: CLIENT
	// s 16K -a-general authorization=UPSTREAM profileWords="a b"
}

func ExampleMaskURI() {
	fmt.Println(credential.MaskURI("/v1/recognize?d=-a-general&u=CLIENT", dialect.AmiVoice.Places))

	// Output:
	// /v1/recognize?d=-a-general&u=REDACTED
}
