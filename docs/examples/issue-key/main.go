// This program hands keys of 60 seconds to the users of an application.
//
// It needs the standard library and nothing else. It reads these environment
// variables:
//
//	SPEECHGATE_URL  where the gateway is, such as https://asr.example.com
//	SPEECHGATE_SID  the account's service ID
//	SPEECHGATE_SPW  the account's service password
//	BIND_KEYS       "yes" for keys that are valid from the user's address only
//	HOST, PORT      where to listen; 127.0.0.1 and 8000 if they are not set
package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const lifetime = 60 * time.Second

var (
	gateway         = strings.TrimSuffix(required("SPEECHGATE_URL"), "/")
	serviceID       = required("SPEECHGATE_SID")
	servicePassword = required("SPEECHGATE_SPW")
	bindKeys        = os.Getenv("BIND_KEYS") == "yes"
)

func required(name string) string {
	value := os.Getenv(name)
	if value == "" {
		log.Fatalf("%s is not set", name)
	}
	return value
}

func isLoggedIn(r *http.Request) bool {
	// ===================== YOUR LOGIN CHECK GOES HERE =====================
	// Everyone who passes it gets a key. This placeholder accepts one session, from
	// the environment variable SESSION. Without the variable it accepts nobody.
	session := os.Getenv("SESSION")
	cookie, err := r.Cookie("session")
	return session != "" && err == nil && cookie.Value == session
}

func addressOfUser(r *http.Request) (string, error) {
	// Behind your proxy, this is the proxy's address: then read the user's address
	// from the header that the proxy writes.
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	return address, err
}

var client = &http.Client{
	Timeout: 10 * time.Second,
	// The password is for the gateway only.
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// issueKey asks the gateway for a key that is valid from address only, or from any
// address if it is empty.
func issueKey(ctx context.Context, address string) (string, error) {
	form := url.Values{
		"sid": {serviceID},
		"spw": {servicePassword},
		"epi": {strconv.FormatInt(lifetime.Milliseconds(), 10)},
		"ipa": {address},
	}
	call, err := http.NewRequestWithContext(ctx, http.MethodPost, gateway+"/issue_service_authorization", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	call.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := client.Do(call)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<16))
	if err != nil {
		return "", err
	}
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%d %s", answer.StatusCode, text)
	}
	return string(text), nil
}

func handle(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if !isLoggedIn(r) {
		http.Error(w, "log in first", http.StatusUnauthorized)
		return
	}
	address, err := "", error(nil)
	if bindKeys {
		address, err = addressOfUser(r)
	}
	key := ""
	if err == nil {
		key, err = issueKey(r.Context(), address)
	}
	if err != nil {
		// The gateway's answer says what is wrong. It is not for users.
		log.Print("no key: ", err)
		http.Error(w, "no key at the moment", http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, key)
}

func main() {
	http.HandleFunc("POST /speech-key", handle)
	server := &http.Server{
		Addr:              net.JoinHostPort(cmp.Or(os.Getenv("HOST"), "127.0.0.1"), cmp.Or(os.Getenv("PORT"), "8000")),
		ReadHeaderTimeout: 10 * time.Second,
	}
	log.Fatal(server.ListenAndServe())
}
