package console

import (
	"html"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/manage"
)

// The page says what the check has found: also what it cannot know.
func TestAuditPage_SaysWhatTheCheckHasFound(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.account("One")
	b := f.operatorBrowser("tanaka")
	checked := b.want(b.post("operator/audit"), 200, "The trail is whole: the entries from number 1 to number ", "Only a chain head from before can show")
	head := regexp.MustCompile(`id="head">([^<]+)<`).FindStringSubmatch(checked.body)
	if head == nil {
		t.Fatalf("no chain head in\n%s", checked.body)
	}
	f.account("Two")
	kept := b.want(b.post("operator/audit", "head", " "+head[1]+"\n"), 200, "The trail is whole: ", "It continues from the chain head that you gave.")
	if strings.Contains(kept.body, "Only a chain head") {
		t.Error("the page asks for the chain head that was compared")
	}
	number, _, _ := strings.Cut(head[1], ":")
	other := number + ":" + strings.Repeat("0", 64)
	for _, wrong := range []string{other, "1:" + strings.Repeat("0", 64)} {
		number, _, _ := strings.Cut(wrong, ":")
		page := b.want(b.post("operator/audit", "head", wrong), 200, "The entries up to number "+number+" do not fit to the chain head", "entry "+number+" is not the one that the head was noted of")
		if strings.Contains(page.body, "unchanged") || strings.Contains(page.body, "Keep it outside") {
			t.Errorf("the page says that entries are unchanged:\n%s", page.body)
		}
	}
	far := "99:" + strings.Repeat("0", 64)
	b.want(b.post("operator/audit", "head", far), 200, "The trail is not whole.", "the trail ends before it", "The entries from number 1 to number ")
	b.want(b.post("operator/audit", "head", "x"), 422, "head")
	b.header.Set("Accept-Language", "ja")
	b.want(b.post("operator/audit", "head", other), 200, "入力したハッシュ値と一致しません", number+"番の記録は、ハッシュ値を控えたときの記録ではありません。")
}

func TestAuditPage_FiltersAndPages(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	one, two := f.account("One"), f.account("Two")
	key := f.key(manage.NewKey{AccountID: one.ID})
	f.key(manage.NewKey{AccountID: two.ID})
	f.operatorBrowser("tanaka")
	f.advance(24 * time.Hour)
	b := f.operatorBrowser("suzuki")
	for range rowsPerPage {
		b.post("operator/keys/"+key.ID+"/suspend", "reason", "a test")
		b.post("operator/keys/" + key.ID + "/resume")
	}
	actions := func(path string) []string {
		t.Helper()
		page := b.want(b.get(path), 200)
		var all []string
		for _, found := range regexp.MustCompile(`<code class="word">(\w+)</code>`).FindAllStringSubmatch(page.body, -1) {
			all = append(all, found[1])
		}
		return all
	}
	for path, want := range map[string]struct {
		n           int
		first, last string
	}{
		"operator/audit?action=key_issue":                   {2, "key_issue", "key_issue"},
		"operator/audit?account=Two":                        {2, "key_issue", "account_create"},
		"operator/audit?subject=" + key.ID:                  {rowsPerPage, "key_resume", "key_suspend"},
		"operator/audit?actor=operator+tanaka":              {1, "console_sign_in", "console_sign_in"},
		"operator/audit?actor=nobody":                       {0, "", ""},
		"operator/audit?from=2030-03-18&action=key_suspend": {rowsPerPage, "key_suspend", "key_suspend"},
		"operator/audit?to=2030-03-17&action=key_suspend":   {0, "", ""},
		"operator/audit?to=2030-03-17&action=key_issue":     {2, "key_issue", "key_issue"},
	} {
		got := actions(path)
		if strings.Contains(path, "operator+tanaka") && len(got) > 0 { // the set-up link and the sign-in
			got = got[:1]
		}
		if len(got) != want.n || len(got) > 0 && (got[0] != want.first || got[len(got)-1] != want.last) {
			t.Errorf("%s: got %q", path, got)
		}
	}
	page := b.want(b.get("operator/audit?subject="+key.ID), 200, `value="`+key.ID+`"`, ">Show all<")
	next := regexp.MustCompile(`rel="next" href="([^"]+)"`).FindStringSubmatch(page.body)
	if next == nil {
		t.Fatal("there is no next part")
	}
	path := html.UnescapeString(next[1])
	if got := actions(path); len(got) != rowsPerPage {
		t.Errorf("the second part has %d entries", len(got))
	}
	b.want(b.get("operator/audit?from=soon"), 400, "since", "soon")
	b.want(b.get("operator/audit?from=2030-03-18&to=2030-03-17"), 400, "until", "not later than the beginning")
	b.want(b.get("operator/audit?actor=an+actor"), 400, "want account, key, operator or store")
	b.want(b.get("operator/audit?action=key_isue"), 400, "did you mean key_issue?")
	b.want(b.get("operator/audit?cursor=x"), 400, "cursor")
	b.want(b.get("operator/audit?account=Three"), 400, "there is no account")
}

// A day is one of the reader's zone.
func TestAuditPage_DaysAreThoseOfTheReader(t *testing.T) {
	t.Parallel()
	f := newFixture(t) // at 17:46 in UTC, which is 02:46 of the next day in Tokyo
	f.account("One")
	b := f.operatorBrowser("tanaka")
	b.want(b.get("operator/audit?to=2030-03-17"), 200, "account_create")
	b.post("preferences", "zone", "Asia/Tokyo")
	b.want(b.get("operator/audit?to=2030-03-17"), 200, "There are no such entries.")
	b.want(b.get("operator/audit?from=2030-03-18&to=2030-03-18"), 200, "account_create")
}
