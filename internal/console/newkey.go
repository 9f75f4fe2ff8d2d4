package console

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/policy"
)

// The choices for the expiry of a key.
const (
	byPeriod = "period"
	byDate   = "date"
	byNever  = "never"
)

// periodUnits are the units of a period, as package manage reads them.
var periodUnits = []string{"m", "h", "d", "w"}

// newKeyForm is what the reader has filled in, and the data of the pages new-key and
// check-key. All fields come back as they were typed.
type newKeyForm struct {
	Label                 string
	Expires, Count, Unit  string
	Date                  string
	Allow                 string
	Issuable              bool
	Operations            []string
	Requests, Concurrent  string
	Streams               string
	AudioDay, AudioTotal  string // minutes
	Once                  string // makes the form work once only
	Problem, ProblemField string
	From                  from
	Blocks                []block
	Summary               []string // what the key will be able to do
	Warnings              []string
	Units, Choices        []string
}

// from says where the reader calls from.
type from struct {
	Client string // empty if it is not known
	Via    string // the proxy, or empty
}

func (v *visit) from() from {
	f := from{}
	if v.caller.Client.IsValid() {
		f.Client = v.caller.Client.String()
	}
	if v.caller.Remote.IsValid() && v.caller.Remote != v.caller.Client {
		f.Via = v.caller.Remote.String()
	}
	return f
}

func newKeyPage(v *visit) error {
	f := &newKeyForm{Expires: byPeriod, Count: "90", Unit: "d"}
	return v.showNewKey(http.StatusOK, f)
}

func (v *visit) showNewKey(status int, f *newKeyForm) error {
	f.From, f.Units, f.Choices = v.from(), periodUnits, policy.LimitableOperations()
	return v.render(status, "new-key", "Issue a key", f)
}

func (v *visit) newKeyForm() *newKeyForm {
	return &newKeyForm{
		Label: v.form("label"), Expires: v.form("expires"), Count: v.form("count"), Unit: v.form("unit"), Date: v.form("date"),
		Allow: strings.TrimSpace(v.r.PostForm.Get("allow")), Issuable: v.form("issuable") != "", Operations: v.r.PostForm["operations"],
		Requests: v.form("requests"), Concurrent: v.form("concurrent"), Streams: v.form("streams"),
		AudioDay: v.form("audio-day"), AudioTotal: v.form("audio-total"), Once: v.form("once"),
	}
}

// request returns the request for the key. The end of a date is that of the reader's zone.
func (v *visit) request(f *newKeyForm) manage.NewKey {
	n := manage.NewKey{AccountID: v.user().ID, Label: f.Label, Issuable: f.Issuable}
	switch f.Expires {
	case byNever:
		n.Expires = manage.Never
	case byDate:
		n.Expires = f.Date
		if day, err := time.ParseInLocation(time.DateOnly, f.Date, v.zone); err == nil {
			n.Expires = day.AddDate(0, 0, 1).UTC().Format(time.RFC3339)
		}
	default:
		n.Expires = f.Count + f.Unit
	}
	for line := range strings.Lines(f.Allow) {
		if line = strings.TrimSpace(line); line != "" {
			n.Allow = append(n.Allow, line)
		}
	}
	limit := func(format, value string) {
		if value != "" {
			n.Limits = append(n.Limits, fmt.Sprintf(format, value))
		}
	}
	limit("operations=%s", strings.Join(f.Operations, ","))
	limit("requests=%s/m", f.Requests)
	limit("concurrent=%s", f.Concurrent)
	limit("streams=%s", f.Streams)
	limit("audio=%sm/d", f.AudioDay)
	limit("audio-total=%sm", f.AudioTotal)
	return n
}

// newKey answers the form in its three steps: check shows what the key will be able to do, edit
// shows the form again, and issue issues the key.
func newKey(v *visit) error {
	f := v.newKeyForm()
	if v.form("step") == "allow-me" {
		if client := v.from().Client; client != "" && !slices.Contains(v.request(f).Allow, client) {
			f.Allow = strings.TrimSpace(f.Allow + "\n" + client)
		}
		return v.showNewKey(http.StatusOK, f)
	}
	if v.form("step") == "edit" {
		return v.showNewKey(http.StatusOK, f)
	}
	n := v.request(f)
	if err := n.Validate(v.now); err != nil {
		return v.newKeyProblem(f, err)
	}
	if v.form("step") != "issue" || f.Once == "" || len(f.Once) > 64 {
		return v.checkNewKey(http.StatusOK, f, &n)
	}
	v.repeatable(f.Once)
	key, err := v.manager.IssueKey(v.r.Context(), n)
	if v.isMistake(err) {
		return v.newKeyProblem(f, err)
	}
	if errors.Is(err, manage.ErrOtherRequest) { // the browser has gone back to the form, which has issued a key
		f.Problem = v.T("The form has issued another key before. Send it again to issue this one too.")
		return v.checkNewKey(http.StatusConflict, f, &n)
	}
	if err != nil {
		return err
	}
	return v.show("issued", "The key", &issuedKey{Key: key, Text: key.Secret.Reveal(), Calls: v.calls(key.Secret.Reveal())})
}

// checkNewKey shows what the key will be able to do, with a form that issues it once.
func (v *visit) checkNewKey(status int, f *newKeyForm, n *manage.NewKey) error {
	f.Once, f.From = rand.Text(), v.from()
	if err := v.summarize(f, n); err != nil {
		return v.newKeyProblem(f, err)
	}
	return v.render(status, "check-key", "Check the key", f)
}

func (v *visit) newKeyProblem(f *newKeyForm, err error) error {
	f.Problem, f.ProblemField = v.mistake(err), fieldOf(err)
	return v.showNewKey(http.StatusUnprocessableEntity, f)
}

// summarize fills in what the key will be able to do, in words.
func (v *visit) summarize(f *newKeyForm, n *manage.NewKey) error {
	set, err := policy.ParseAddrSet(strings.Join(n.Allow, ","))
	if err != nil {
		return err
	}
	limits, err := policy.ParseLimits(strings.Join(n.Limits, " "))
	if err != nil {
		return err
	}
	f.Blocks, f.Warnings = v.blocks(set), nil
	if set.Any() {
		f.Warnings = append(f.Warnings, v.T("The key will work from every address: anyone who finds it can use it."))
	} else if v.caller.Client.IsValid() && !set.Contains(v.caller.Client) {
		f.Warnings = append(f.Warnings, v.T("The key will not work from the address that you are calling from now, %s.", f.From.Client))
	}
	for _, entry := range set.Entries() {
		switch entry {
		case "0.0.0.0/0":
			f.Warnings = append(f.Warnings, v.T("%s allows all IPv4 addresses and no IPv6 address. Leave the field empty to allow any address.", entry))
		case "::/0":
			f.Warnings = append(f.Warnings, v.T("%s allows all IPv6 addresses and no IPv4 address. Leave the field empty to allow any address.", entry))
		}
	}
	if n.Expires == manage.Never {
		f.Warnings = append(f.Warnings, v.T("The key will never expire. It ends only when you delete it."))
	}
	if n.Issuable {
		f.Summary = append(f.Summary, v.T("It can issue further keys through the issuance API. They end no later than this key."))
	} else {
		f.Summary = append(f.Summary, v.T("It cannot issue further keys."))
	}
	f.Summary = append(f.Summary, v.limitWords(limits)...)
	return nil
}

// limitWords says limits in words.
func (v *visit) limitWords(l policy.Limits) (words []string) {
	if l.None() {
		return []string{v.T("It has no limits of its own.")}
	}
	if l.Operations != 0 {
		operations := strings.Split(l.Operations.String(), ",")
		for i, word := range operations {
			operations[i] = v.T(word)
		}
		words = append(words, v.T("Operations: %s.", strings.Join(operations, v.T(", "))))
	}
	if l.Requests != 0 {
		words = append(words, v.T("At most %d requests a minute.", l.Requests))
	}
	if l.Concurrent != 0 {
		words = append(words, v.T("At most %d requests at a time.", l.Concurrent))
	}
	if l.Streams != 0 {
		words = append(words, v.T("At most %d live streams at a time.", l.Streams))
	}
	if l.AudioDay != 0 {
		words = append(words, v.T("At most %d minutes of audio a day (UTC).", l.AudioDay/60))
	}
	if l.AudioTotal != 0 {
		words = append(words, v.T("At most %d minutes of audio in all.", l.AudioTotal/60))
	}
	return words
}

// ExpiryOf returns the expiry that a form asks for, as the summary shows it.
func (p *page) ExpiryOf(f *newKeyForm) any {
	expiry, err := manage.ParseExpiry(p.request(f).Expires, p.now)
	if err != nil { // the form was checked before
		return ""
	}
	return p.ExpiryTime(manage.Expiry{Expiry: expiry})
}

// addressCheck is the answer to a check of addresses while they are typed.
type addressCheck struct {
	Problem string  `json:"problem,omitempty"`
	Blocks  []block `json:"blocks"`
	Text    string  `json:"text"`
}

// checkAddresses checks addresses while they are typed. The script calls it.
func checkAddresses(v *visit) error {
	f := &newKeyForm{Allow: strings.TrimSpace(v.r.PostForm.Get("allow"))}
	n := v.request(f)
	answer := addressCheck{Blocks: []block{}}
	set, err := policy.ParseAddrSet(strings.Join(n.Allow, ","))
	switch {
	case err != nil:
		answer.Problem = v.mistake(err)
	case set.Any():
		answer.Text = v.T("The key will work from every address: anyone who finds it can use it.")
	default:
		answer.Blocks = v.blocks(set)
		if v.caller.Client.IsValid() && !set.Contains(v.caller.Client) {
			answer.Text = v.T("The key will not work from the address that you are calling from now, %s.", v.from().Client)
		}
	}
	return v.sendJSON(http.StatusOK, answer)
}
