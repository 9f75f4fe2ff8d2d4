package handler

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// Validate checks that each entry is an origin as browsers send it, or that "*" or "off" is the
// only entry.
func (o Origins) Validate() error {
	for i, origin := range o {
		switch {
		case (origin == "*" || origin == corsOff) && len(o) > 1:
			return fmt.Errorf("cors: %q stands alone or not at all", origin)
		case origin == "*" || origin == corsOff:
			return nil
		case slices.Contains(o[:i], origin):
			return fmt.Errorf("cors %q: the origin is given twice", origin)
		}
		if err := checkOrigin(origin); err != nil {
			return fmt.Errorf("cors %q: %w", origin, err)
		}
	}
	return nil
}

var errNoOrigin = errors.New("want an origin such as https://app.example.com, or *, or off")

// checkOrigin refuses a text that no browser sends in the field Origin. An origin is compared
// byte by byte, so such a text would have no effect.
func checkOrigin(text string) error {
	if strings.Contains(text, "*") {
		return errors.New("a wildcard inside an origin is not supported: want each origin by itself, or * for every origin")
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return errNoOrigin
	}
	host, err := originHost(u.Hostname())
	if err != nil {
		return err
	}
	port := u.Port()
	if n, err := strconv.Atoi(port); port != "" && (err != nil || n < 1 || n > 65535) {
		return fmt.Errorf("there is no port %s: want one from 1 to 65535", port)
	}
	if port = strings.TrimLeft(port, "0"); port != "" && port != defaultPort(u.Scheme) {
		host += ":" + port
	}
	if meant := u.Scheme + "://" + host; meant != text {
		return fmt.Errorf("no browser sends this origin: want %s", meant)
	}
	return nil
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// originHost returns a host as browsers write it in an origin: in lower case, in ASCII.
func originHost(host string) (string, error) {
	if addr, err := netip.ParseAddr(host); err == nil && addr.Zone() == "" {
		if host = addr.String(); addr.Is6() {
			host = "[" + host + "]"
		}
		return host, nil
	}
	lower := strings.ToLower(host)
	if strings.ContainsFunc(lower, func(r rune) bool { return r > '~' }) {
		ascii, err := idna.Lookup.ToASCII(lower)
		if err != nil {
			return "", fmt.Errorf("%q is not the name of a host: %w", host, errNoOrigin)
		}
		lower = ascii
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(lower, "."), ".") {
		if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return "", fmt.Errorf("%q is not the name of a host: %w", host, errNoOrigin)
		}
	}
	return lower, nil
}

// ValidateCORSHeaders checks the names of header fields that pages of the origins may send.
func ValidateCORSHeaders(names []string, origins Origins) error {
	if len(names) > 0 && origins.Off() {
		return errors.New("cors_headers: the option has no effect with cors off, which refuses preflight requests: want one of the two")
	}
	for i, name := range names {
		lower := strings.ToLower(name)
		switch {
		case slices.Contains([]string{"*", "all", "any", "off", "none"}, lower):
			return fmt.Errorf("cors_headers %q: want the names of header fields, such as traceparent; without the option a page may send every field", name)
		case !isFieldName(name):
			return fmt.Errorf("cors_headers %q: want the name of a header field, such as traceparent, and one word for each", name)
		case containsField(names[:i], name):
			return fmt.Errorf("cors_headers %q: the field is given twice", name)
		case isForbiddenToPages(lower):
			return fmt.Errorf("cors_headers %q: a browser lets no page set this field: want fields that pages send, such as traceparent", name)
		}
	}
	return nil
}

// isForbiddenToPages reports whether a browser lets no page set the header field with this name,
// which is in lower case (forbidden request-header, Fetch standard, section 2.2.2).
func isForbiddenToPages(lower string) bool {
	switch lower {
	case "accept-charset", "accept-encoding", "access-control-request-headers", "access-control-request-method",
		"connection", "content-length", "cookie", "cookie2", "date", "dnt", "expect", "host", "keep-alive", "origin",
		"referer", "set-cookie", "te", "trailer", "transfer-encoding", "upgrade", "via":
		return true
	}
	return strings.HasPrefix(lower, "proxy-") || strings.HasPrefix(lower, "sec-")
}
