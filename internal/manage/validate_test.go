package manage

import (
	"crypto/rand"
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// Validate finds each mistake in a field without the keystore, so that a page or a command can say so early.
func TestQueries_NameEachMistakeWithoutAKeystore(t *testing.T) {
	t.Parallel()
	type query interface{ Validate() error }
	longest := strings.Repeat("x", maxSearch)
	for _, test := range []struct {
		query query
		field string // empty for a query without a mistake
	}{
		{&KeyQuery{}, ""},
		{&KeyQuery{AccountID: "One", IssuedBy: "key_1", Origin: "api", Status: "deleted", Label: "tv", Sort: "label"}, ""},
		{&KeyQuery{Status: "active", Expiring: "1d", Unused: "1d"}, ""},
		{&KeyQuery{Search: longest}, ""},
		{&KeyQuery{AccountID: "key_x"}, "account_id"},
		{&KeyQuery{IssuedBy: "acc_x"}, "issued_by"},
		{&KeyQuery{Origin: "import"}, "origin"},
		{&KeyQuery{Status: "gone"}, "status"},
		{&KeyQuery{Status: "deleted", Expiring: "1d"}, "status"},
		{&KeyQuery{Status: "deleted", Unused: "1d"}, "status"},
		{&KeyQuery{Sort: "id"}, "sort"},
		{&KeyQuery{Sort: "label", Search: "tv"}, "sort"},
		{&KeyQuery{Search: longest + "x"}, "search"},
		{&KeyQuery{Search: policy.KeyPrefix}, "search"},
		{&KeyQuery{Expiring: "0"}, "expiring"},
		{&KeyQuery{Unused: "soon"}, "unused"},
		{&KeyQuery{Page: Page{Limit: -1}}, "limit"},
		{&KeyQuery{Page: Page{Limit: math.MaxInt}}, "limit"},
		{&AccountQuery{Status: "closed", Search: longest}, ""},
		{&AccountQuery{Status: "gone"}, "status"},
		{&AccountQuery{Search: policy.ServicePasswordPrefix}, "search"},
		{&AccountQuery{Page: Page{Limit: -1}}, "limit"},
		{&JobQuery{AccountID: "One", KeyID: "key_1"}, ""},
		{&JobQuery{AccountID: "key_x"}, "account_id"},
		{&JobQuery{KeyID: "acc_x"}, "key"},
		{&JobQuery{Page: Page{Limit: -1}}, "limit"},
		{&UsageQuery{AccountID: "One", KeyID: "key_1", By: "key", Limit: 1}, ""},
		{&UsageQuery{AccountID: "key_x"}, "account_id"},
		{&UsageQuery{KeyID: "acc_x"}, "key"},
		{&UsageQuery{By: "week"}, "by"},
		{&UsageQuery{By: "day", Limit: 1}, "limit"},
		{&UsageQuery{By: "key", Limit: -1}, "limit"},
		{&ForecastQuery{AccountID: "One", Within: "1d"}, ""},
		{&ForecastQuery{AccountID: "key_x"}, "account_id"},
		{&ForecastQuery{Within: "0"}, "within"},
		{&ForecastQuery{AccountID: "One", Page: Page{Limit: -1}}, "limit"},
	} {
		err := test.query.Validate()
		var wrong *FieldError
		if test.field == "" && err != nil || test.field != "" && (!errors.As(err, &wrong) || wrong.Field != test.field) {
			t.Errorf("%+v: got %v, want an error about %q", test.query, err, test.field)
		}
	}
}

func TestCheckAccount_TakesIDsAndNames(t *testing.T) {
	t.Parallel()
	for text, good := range map[string]bool{"acc_1": true, "acc_": true, "One": true, "": false, "key_1": false, policy.KeyPrefix + "x": false} {
		if err := CheckAccount("account_id", text); (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestCheckOverlap_IsUpToTenYears(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"0": "", "24h": "", keystore.MaxOverlap.String(): "",
		(keystore.MaxOverlap + 1e6).String(): "more than ten years", "36525d": "more than ten years",
		"36526d": "more than a hundred years", "-1h": "negative", "soon": "want a duration",
	} {
		if err := CheckOverlap(text); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func TestCheckConsoleURL_TakesTheStartPageOrItsPath(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"https://a/", "https://a", "http://a:8080/console/", "/", "/console/"} {
		if err := CheckConsoleURL(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	secret := must(policy.GenerateSecret(policy.KeyPrefix, rand.Reader))(t).Reveal()
	for _, text := range []string{
		"", "console/", "a.example.com/console/", "ftp://a/", "https:///console/", "https:a", "https://ada@a/", "https://a/?x", "https://a/#x", "//a/console/", "https://a/%zz",
		secret, "https://a/?key=" + secret,
	} {
		err := CheckConsoleURL(text)
		var wrong *FieldError
		if !errors.As(err, &wrong) || wrong.Field != "url" || !strings.Contains(err.Error(), "want the URL of the console's start page") || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: got %v", text, err)
		}
	}
	// A text that is no secret and not long is shown, so that the mistake can be seen.
	long := "ftp://a/" + strings.Repeat("x", 192)
	for text, shown := range map[string]bool{"ftp://speech.example.com/": true, long: true, long + "x": false} {
		if err := CheckConsoleURL(text); err == nil || strings.Contains(err.Error(), strconv.Quote(text)) != shown {
			t.Errorf("%d bytes are shown: %t; got %v", len(text), !shown, err)
		}
	}
}
