package console

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// mistake is a request that a page answers with what is wrong with it.
type mistake struct {
	name     string
	operator bool
	path     string
	form     []string // nil for a GET
	want     string   // the Japanese text
	looked   bool     // a browser looks at the page
}

// confused are an account, its keys and the mistakes that people make with them.
type confused struct {
	account, closed manage.Account
	active, revoked manage.Key
	mistakes        []mistake
}

func (f *fixture) confused() *confused {
	f.t.Helper()
	c := &confused{account: f.account("株式会社サンプル"), closed: f.account("解約済みの会社")}
	c.active = f.key(manage.NewKey{AccountID: c.account.ID, Label: "受付"})
	c.revoked = f.key(manage.NewKey{AccountID: c.account.ID})
	if _, err := f.operator().RevokeKey(f.t.Context(), c.revoked.ID, manage.Revocation{}); err != nil {
		f.t.Fatal(err)
	}
	if _, err := f.operator().CloseAccount(f.t.Context(), c.closed.ID, true); err != nil {
		f.t.Fatal(err)
	}
	initial, _, err := f.store.IssueKey(f.t.Context(), f.Now(), root, keystore.NewKey{AccountID: c.account.ID, Origin: policy.OriginInitial, Expires: policy.Never()})
	if err != nil {
		f.t.Fatal(err)
	}
	period := []string{"step", "check", "expires", "period", "unit", "d", "count"}
	with := func(count string, more ...string) []string {
		return append(append(slices.Clone(period), count), more...)
	}
	account, key := "operator/accounts/"+c.account.ID, "operator/keys/"+c.revoked.ID
	closedAt := "2030-03-17 17:46:40 UTC"
	c.mistakes = []mistake{
		{"expires-zero", false, "keys/new", with("0"), `有効期限 "0d"：発行と同時に期限切れになります。現在からの期間（例：90s、24h、7d）、日付（例：2030-04-16）、日時（例：2030-04-16T17:00:00Z）、または never を指定してください。`, true},
		{"expires-text", false, "keys/new", with("three"), `有効期限 "threed"：日時として読み取れません。`, false},
		{"expires-negative", false, "keys/new", with("-5"), `有効期限 "-5d"：負の値です。`, false},
		{"expires-far", false, "keys/new", with("99999999"), `有効期限 "99999999d"：106751dを超えています。`, false},
		{"expires-past", false, "keys/new", []string{"step", "check", "expires", "date", "date", "2020-01-01"}, `：過去の日時（2020-01-02 00:00:00 UTC）です。`, false},
		{"expires-day", false, "keys/new", []string{"step", "check", "expires", "date", "date", "2031-02-30"}, `有効期限 "2031-02-30"：存在しない日付です。`, false},
		{"label-long", false, "keys/new", with("7", "label", strings.Repeat("あ", 70)), `キーのラベルが210バイトあります。200バイト以下にしてください。`, false},
		{"label-control", false, "keys/new", with("7", "label", "a\x07b"), `キーのラベル "a\ab" に、表示できない文字が含まれています。`, false},
		{"allow-text", false, "keys/new", with("7", "allow", "office"), `許可アドレス：アドレス "office"：アドレス（192.0.2.7）、CIDRブロック（192.0.2.0/24）、または範囲（192.0.2.10-192.0.2.20）を入力してください。`, false},
		{"allow-bits", false, "keys/new", with("7", "allow", "192.0.2.7/24"), `許可アドレス：アドレス "192.0.2.7/24"：プレフィックス長より後ろのビットが0ではありません。ブロックの場合は 192.0.2.0/24、1個のアドレスの場合は 192.0.2.7 と入力してください。`, true},
		{"allow-reversed", false, "keys/new", with("7", "allow", "192.0.2.20-192.0.2.10"), `範囲の始点と終点が逆です。192.0.2.10-192.0.2.20 と入力してください。`, false},
		{"allow-mixed", false, "keys/new", with("7", "allow", "192.0.2.20-2001:db8::1"), `範囲にIPv4とIPv6が混在しています。`, false},
		{"allow-start", false, "keys/new", with("7", "allow", "x-192.0.2.10"), `：範囲の始点：アドレス（192.0.2.7）、`, false},
		{"allow-end", false, "keys/new", with("7", "allow", "192.0.2.1-192.0.2.010"), `：範囲の終点：IPv4の数が0で始まっています。`, false},
		{"allow-port", false, "keys/new", with("7", "allow", "192.0.2.7:443"), `ポート番号を除いて、192.0.2.7 と入力してください。`, false},
		{"allow-zone", false, "keys/new", with("7", "allow", "fe80::1%eth0"), `ゾーンは1台のマシンの中でしか意味を持ちません。fe80::1 と入力してください。`, false},
		{"allow-length", false, "keys/new", with("7", "allow", "192.0.2.0/33"), `プレフィックス長は、IPv4では0～32、IPv6では0～128の数にしてください。`, false},
		{"allow-mapped", false, "keys/new", with("7", "allow", "::ffff:192.0.2.0/90"), `ブロックがIPv4アドレスの範囲を超えています。`, false},
		{"allow-unspecified", false, "keys/new", with("7", "allow", "0.0.0.0"), `空欄にするか、0.0.0.0/0 と入力してください。`, false},
		{"allow-comma", false, "keys/new", with("7", "allow", "192.0.2.1,,192.0.2.2"), `アドレス "192.0.2.1,,192.0.2.2"：余分なコンマがあります。`, false},
		{"allow-space", false, "keys/new", with("7", "allow", "192.0.2.1 - 192.0.2.9"), `アドレス "192.0.2.1 - 192.0.2.9"：範囲のハイフンの前後に空白を入れず、192.0.2.1-192.0.2.9 と入力してください。`, false},
		{"limit-requests", false, "keys/new", with("7", "requests", "many"), `利用上限：上限 "requests=many/m"：1分あたりのリクエスト数を、1/m から 1000000000/m までで指定してください（例：requests=60/m）。`, true},
		{"limit-concurrent", false, "keys/new", with("7", "concurrent", "0"), `利用上限：上限 "concurrent=0"：1から1000000000までの数を指定してください（例：concurrent=4）。`, false},
		{"limit-audio-day", false, "keys/new", with("7", "audio-day", "x"), `1日あたりの音声の長さを、整数の秒で指定してください（例：audio=3600s/d）。`, false},
		{"limit-audio-total", false, "keys/new", with("7", "audio-total", "x"), `音声の長さを、整数の秒で指定してください（例：audio-total=36000s）。`, false},
		{"limit-operation", false, "keys/new", with("7", "operations", "fly"), `利用上限：上限 "operations=fly"："fly" という操作はありません。recognize, create_job, read_job, delete_job, stream, list_jobs, info, mint の中から指定してください。`, false},
		{"delete-initial", false, "keys/" + initial.ID + "/delete", []string{}, `キー ` + initial.ID + ` は削除できません。アカウント開設時に発行されたキー（発行元：初期キー）は削除できません。運用者に失効を依頼してください。`, true},
		{"rename-key", false, "keys/" + c.active.ID + "/rename", []string{"label", strings.Repeat("x", 201)}, `キーのラベルが201バイトあります。`, false},
		{"cursor", false, "keys?cursor=x", nil, `一覧の位置が正しくありません。一覧を最初から表示し直してください。`, true},
		{"explain-address", false, "explain", []string{"client-ip", "192.0.2.7:80", "method", "POST", "path", "/v1/recognize", "dialect", "amivoice"}, `クライアントのアドレス "192.0.2.7:80"：ポート番号を除いて、192.0.2.7 と入力してください。`, false},
		{"explain-no-address", false, "explain", []string{"method", "POST", "path", "/v1/recognize", "dialect", "amivoice"}, `クライアントのアドレスが入力されていません。クライアントのアドレス（例：192.0.2.7）を入力してください。`, false},
		{"explain-method", false, "explain", []string{"client-ip", "192.0.2.7", "method", "post", "path", "/v1/recognize", "dialect", "amivoice"}, `メソッド "post"：GET や POST のように、大文字で指定してください。`, false},
		{"explain-path", false, "explain", []string{"client-ip", "192.0.2.7", "method", "POST", "path", "v1?x", "dialect", "amivoice"}, `パス "v1?x"：スラッシュで始まり、クエリを含まないパスを入力してください（例：/v1/recognize）。`, true},
		{"explain-dialect", false, "explain", []string{"client-ip", "192.0.2.7", "method", "POST", "path", "/", "dialect", "amivioce"}, `API "amivioce"：amivoice の誤りではありませんか？`, false},
		{"explain-backend", false, "explain", []string{"client-ip", "192.0.2.7", "method", "POST", "path", "/", "dialect", "amivoice", "backend", "other"}, `バックエンド "other" は設定にありません。amivoice を指定してください。`, false},
		{"explain-at", false, "explain", []string{"client-ip", "192.0.2.7", "method", "POST", "path", "/", "dialect", "amivoice", "at", "now"}, `日時 "now"：日時として読み取れません。日時（例：2030-03-17T17:00:00Z）を指定してください。`, false},
		{"explain-key", false, "explain", []string{"client-ip", "192.0.2.7", "method", "POST", "path", "/", "dialect", "amivoice", "key", "key_none"}, `キー "key_none" はありません。`, false},

		{"account-name", true, account + "/rename", []string{"name", ""}, `名前が入力されていません（名前の例："Example Corp."）。`, false},
		{"account-name-like", true, account + "/rename", []string{"name", "svc_x"}, `名前 "svc_x" はサービスIDと同じ文字で始まっています。`, false},
		{"account-close", true, account + "/close", []string{}, `アカウント ` + c.account.ID + `（"株式会社サンプル"）はまだ解約されていません。解約すると、有効なキー2個が、ストリームや猶予期間とともにただちに終了し、元に戻せません。解約するには、確認欄のチェックを入れてください。`, true},
		{"account-limits", true, account + "/limits", []string{"limits", "speed=3"}, `利用上限："speed" という上限はありません。requests、concurrent、streams、audio、audio-total、operations のいずれかを指定してください（例：requests=60/m）。`, true},
		{"account-limits-twice", true, account + "/limits", []string{"limits", "streams=3 streams=4"}, `利用上限：上限 streams が2回指定されています。1回だけ指定してください。`, false},
		{"account-reason", true, account + "/suspend", []string{"reason", strings.Repeat("x", 201)}, `理由が201バイトあります。200バイト以下にしてください。`, false},
		{"account-suspend-closed", true, "operator/accounts/" + c.closed.ID + "/suspend", []string{}, `変更は行われませんでした：アカウント ` + c.closed.ID + ` は ` + closedAt + ` に解約されています。解約は取り消せません。`, false},
		{"account-invite-closed", true, "operator/accounts/" + c.closed.ID + "/invite", []string{}, `アカウント ` + c.closed.ID + ` は ` + closedAt + ` に解約されているため、サインインできません。`, false},
		{"account-new", true, "operator/accounts/new", []string{"name", ""}, `名前が入力されていません`, false},
		{"account-new-password", true, "operator/accounts/new", []string{"name", "n", "service-password", "secret-1"}, `サービスIDがありません。サービスパスワードを指定する場合は、対応するサービスIDも入力してください。`, false},
		{"account-new-short", true, "operator/accounts/new", []string{"name", "n", "service-id", "x", "service-password", "short"}, `サービスパスワードが5バイトです。8～1,024バイトにしてください。`, false},
		{"account-new-id", true, "operator/accounts/new", []string{"name", "n", "service-id", "a b", "service-password", "secret-1"}, `サービスID "a b"：表示可能なASCII文字で、1～200文字にしてください。`, false},
		{"account-new-taken", true, "operator/accounts/new", []string{"name", "n", "service-id", c.account.ServiceID, "service-password", "secret-1"}, `サービスID "` + c.account.ServiceID + `" は、アカウント ` + c.account.ID + ` がすでに使用しています。`, true},
		{"accounts-status", true, "operator/accounts?status=opn", nil, `状態 "opn"：open の誤りではありませんか？`, false},
		{"accounts-search", true, "operator/accounts?search=sgk_x", nil, `検索欄に入力されたのはAPIキー本体（秘密の情報）です。アカウント名の一部、アカウントID、またはサービスIDを入力してください。`, true},
		{"keys-origin", true, "operator/keys?origin=elsewhere", nil, `発行元 "elsewhere"：initial, console または api のいずれかを指定してください。`, false},
		{"keys-account", true, "operator/keys?account=nobody", nil, `"nobody" というIDまたは名前のアカウントはありません。`, false},
		{"keys-issuer", true, "operator/keys?issued-by=acc_x", nil, `：これはアカウントIDです。key_… の形式のキーIDを指定してください。`, true},
		{"key-suspend", true, key + "/suspend", []string{}, `キー ` + c.revoked.ID + ` は停止できません（状態：失効）。`, true},
		{"key-resume", true, key + "/resume", []string{}, `キー ` + c.revoked.ID + ` は再開できません（状態：失効）。`, false},
		{"leaked-checksum", true, "operator/leaked", []string{"key", c.active.Secret.Reveal() + "x"}, `キーが正しくありません。Speechgateのキーの形式ですが、チェックサムが一致しません。`, true},
		{"leaked-unknown", true, "operator/leaked", []string{"key", "somebody-elses-key"}, `該当するキーは登録されていません。`, false},
		{"leaked-nothing", true, "operator/leaked", []string{"key", "a b"}, `空白、制御文字、またはASCII以外の文字が含まれています。`, false},
		{"forecast", true, "operator/forecast?within=soon", nil, `期間 "soon"：期間として読み取れません。期間（例：90s、24h、7d）を指定してください。`, true},
		{"forecast-long", true, "operator/forecast?within=99999d", nil, `期間 "99999d"：100年を超えています。`, false},
		{"forecast-zero", true, "operator/forecast?within=0", nil, `期間が0になっています。期間（例：90s、24h、7d）を指定してください。`, false},
		{"audit-since", true, "operator/audit?from=2999-01-01", nil, `開始日 "2999-01-01T00:00:00.000Z"：未来の日時（2999-01-01 00:00:00 UTC）です。現在までの期間（例：90s、24h、7d）、日付（例：2030-03-10）、または日時（例：2030-03-10T17:00:00Z）を指定してください。`, false},
		{"audit-until", true, "operator/audit?from=2030-03-01&to=2030-02-01", nil, `終了日 "2030-02-02T00:00:00.000Z"：開始（2030-03-01 00:00:00 UTC）より後の日時（2030-02-02 00:00:00 UTC）ではありません。`, false},
		{"audit-actor", true, "operator/audit?actor=nobody+tanaka", nil, `実行者 "nobo…"：account, key, operator または store、IDもしくは名前、または両方（例："operator tanaka"）を入力してください。`, false},
		{"audit-action", true, "operator/audit?action=key_isue", nil, `操作 "key_isue"：key_issue の誤りではありませんか？`, false},
		{"audit-subject", true, "operator/audit?subject=" + c.active.Secret.Reveal(), nil, `IDに、キーまたはサービスパスワードが含まれています。秘密の情報は入力しないでください。`, false},
		{"audit-head", true, "operator/audit", []string{"head", "7"}, `ハッシュ値 "7"：番号、コロン、64桁の16進数を続けた形式で指定してください。`, true},
		{"jobs-key", true, "operator/jobs?key=acc_1", nil, `キー "acc_1"：これはアカウントIDです。key_… の形式のキーIDを指定してください。`, true},
		{"usage-key", true, "usage?key=x", nil, `キー "x"：キーIDではありません。key_… の形式のキーIDを指定してください。`, true},
	}
	return c
}

var (
	notice = regexp.MustCompile(`(?s)<div class="notice bad" role="alert"[^>]*>(.*?)</div>|<section class="narrow">\s*<h1>[^<]*</h1>\s*<p>(.*?)</p>`)
	quoted = regexp.MustCompile(`"(\\.|[^"\\])*"`)
	// english matches a part of an English sentence.
	english = regexp.MustCompile(`[A-Za-z']{2,} [a-z']{2,}`)
)

// wantJapanese checks that a text that the page shows is Japanese, except what people have typed.
func wantJapanese(t *testing.T, where, text string) {
	t.Helper()
	plain := quoted.ReplaceAllString(text, "")
	if found := english.FindString(plain); found != "" || strings.Contains(text, "%!") || strings.Contains(text, "<span") {
		t.Errorf("%s: %q is English in %q", where, found, text)
	}
	if !strings.ContainsRune("。？", []rune(text)[len([]rune(text))-1]) {
		t.Errorf("%s: %q is no whole sentence", where, text)
	}
}

func TestMistakes_AreInJapaneseWithTheirValues(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := f.confused()
	holder, operator := f.holder(c.account), f.operatorBrowser("tanaka")
	holder.header.Set("Accept-Language", "ja")
	operator.header.Set("Accept-Language", "ja")
	for _, m := range c.mistakes {
		b := holder
		if m.operator {
			b = operator
		}
		var got answer
		if m.form == nil {
			got = b.get(m.path)
		} else {
			got = b.post(m.path, m.form...)
		}
		found := notice.FindStringSubmatch(got.body)
		if got.status < 400 || got.status >= 500 || found == nil {
			t.Errorf("%s: status %d:\n%s", m.name, got.status, got.body)
			continue
		}
		text := html.UnescapeString(strings.TrimSpace(found[1] + found[2]))
		if !strings.Contains(text, m.want) {
			t.Errorf("%s: the page says\n%s\nwant\n%s", m.name, text, m.want)
		}
		wantJapanese(t, m.name, text)
	}
	// Addresses are checked while they are typed.
	checked := holder.want(holder.post("keys/addresses", "allow", "192.0.2.7/24"), http.StatusOK)
	if !strings.Contains(checked.body, "1個のアドレスの場合は 192.0.2.7 と入力してください。") {
		t.Errorf("the check of addresses says %s", checked.body)
	}
}

// The instants in a mistake are in the reader's zone, as on the rest of the page.
func TestMistakes_HaveTheZoneOfTheReader(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := f.confused()
	b := f.operatorBrowser("tanaka")
	b.wantRedirect(b.post("preferences", "zone", "Asia/Tokyo", "next", "settings"), "settings")
	b.want(b.post("operator/accounts/"+c.closed.ID+"/suspend"), http.StatusConflict, "account "+c.closed.ID+" was closed at 2030-03-18 02:46:40 UTC&#43;09:00, which is for good.")
}

// TestBrowser_Mistakes looks at a mistake on each page.
func TestBrowser_Mistakes(t *testing.T) {
	t.Parallel()
	looks := []look{{"ja", "dark", 1280, true}, {"ja", "light", 390, true}}
	inLooks(t, looks, func(_ *testing.T, b *tab) {
		c := b.f.confused()
		for _, operator := range []bool{false, true} {
			b.signInAs(c.account, operator)
			for _, m := range c.mistakes {
				if m.operator == operator && m.looked {
					b.mistake(m)
				}
			}
			b.Submit(".tools form:last-child button", "#name") // sign out
		}
	})
}

// mistake makes a mistake, and looks at the page.
func (b *tab) mistake(m mistake) {
	b.t.Helper()
	if m.form == nil {
		b.open(m.path)
	} else {
		b.send(m.path, m.form)
	}
	if shown := b.Text("main"); !strings.Contains(shown, strings.TrimSpace(m.want)) {
		b.t.Errorf("%s: the page shows\n%s", m.name, shown)
	}
	b.Told() // the browser reports the status of the answer
	b.seen("mistake-" + m.name)
}

// signInAs signs in by a set-up link: the holder of the account, or an operator.
func (b *tab) signInAs(a manage.Account, operator bool) {
	b.t.Helper()
	invited, err := b.f.operator().InviteAccount(b.t.Context(), a.ID, "/console/")
	link := invited.SetupURL
	if operator {
		var invited manage.OperatorInvitation
		invited, err = b.f.operator().InviteOperator(b.t.Context(), "tanaka", "/console/")
		link = invited.SetupURL
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.open(link.Reveal())
	b.Fill("#password", aPassword)
	b.Fill("#repeat", aPassword)
	b.Submit("main button", ".facts, .card")
}

// send sends a form that the page need not have.
func (b *tab) send(path string, form []string) {
	b.t.Helper()
	b.open("settings")
	values := url.Values{}
	for i := 0; i < len(form); i += 2 {
		values.Add(form[i], form[i+1])
	}
	b.Do(chromedp.Evaluate[chromedp.Void](`const form = document.createElement("form");
		form.id = "mistake"; form.method = "post"; form.action = "/console/` + path + `";
		for (const [name, value] of new URLSearchParams("` + values.Encode() + `")) {
			const field = document.createElement("input");
			field.name = name; field.value = value; form.append(field);
		}
		form.append(document.createElement("button"));
		document.querySelector("main").append(form);`))
	b.Submit("#mistake button", "main")
}

// Every rule of an explanation says in Japanese what the English text says.
func TestExplain_SaysEveryRuleInJapanese(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a, other := f.account("One"), f.account("Two")
	keys := map[string]manage.Key{
		"active":    f.key(manage.NewKey{AccountID: a.ID}),
		"forever":   f.key(manage.NewKey{AccountID: a.ID, Expires: "never", Issuable: true, Limits: []string{"operations=read_job"}}),
		"addresses": f.key(manage.NewKey{AccountID: a.ID, Allow: []string{"198.51.100.0/24"}}),
		"here":      f.key(manage.NewKey{AccountID: a.ID, Allow: []string{"192.0.2.7"}, Limits: []string{"requests=60/m"}}),
		"suspended": f.key(manage.NewKey{AccountID: a.ID}),
		"revoked":   f.key(manage.NewKey{AccountID: a.ID}),
		"deleted":   f.key(manage.NewKey{AccountID: a.ID}),
		"rotated":   f.key(manage.NewKey{AccountID: a.ID}),
		"expired":   f.key(manage.NewKey{AccountID: a.ID, Expires: "1m"}),
		"other":     f.key(manage.NewKey{AccountID: other.ID}),
	}
	m := f.operator()
	_, err := m.SuspendKey(t.Context(), keys["suspended"].ID, "")
	for _, change := range []func() error{
		func() error { _, err := m.RevokeKey(t.Context(), keys["revoked"].ID, manage.Revocation{}); return err },
		func() error { _, err := m.DeleteKey(t.Context(), keys["deleted"].ID); return err },
		func() error { _, err := m.RotateKey(t.Context(), keys["rotated"].ID, "24h"); return err },
		func() error { _, err := m.SuspendAccount(t.Context(), other.ID, ""); return err },
		func() error { _, err := m.LimitAccount(t.Context(), a.ID, []string{"concurrent=20"}); return err },
		func() error {
			return f.store.CreateJob(t.Context(), policy.Job{Backend: "amivoice", ID: "j1", Dialect: "amivoice", AccountID: a.ID, KeyID: keys["expired"].ID, CreatedAt: f.Now()})
		},
	} {
		if err == nil {
			err = change()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	f.advance(2 * time.Minute)
	b := f.operatorBrowser("tanaka")
	b.header.Set("Accept-Language", "ja")
	row := regexp.MustCompile(`(?s)<tr><th scope="row">(.*?)</th><td><span[^>]*>(.*?)</span></td><td>(.*?)</td></tr>`)
	said := map[string]bool{}
	ask := func(form ...string) {
		t.Helper()
		form = append([]string{"client-ip", "192.0.2.7", "dialect", "amivoice"}, form...)
		page := b.want(b.post("operator/explain", form...), http.StatusOK)
		rows := row.FindAllStringSubmatch(page.body, -1)
		if len(rows) != 13 {
			t.Fatalf("%d rules in\n%s", len(rows), page.body)
		}
		for _, r := range rows {
			text := html.UnescapeString(r[3])
			wantJapanese(t, r[1], text)
			said[text] = true
			if !regexp.MustCompile(`^[\p{Han}\p{Hiragana}\p{Katakana}ーAPI]+<br><code>[a-z_]+</code>$`).MatchString(r[1]) {
				t.Errorf("the rule %s is %s", r[1], r[2])
			}
		}
	}
	for _, k := range keys {
		ask("key", k.ID, "method", "POST", "path", "/v1/recognize")
		ask("key", k.ID, "method", "GET", "path", "/v2/recognitions/j1")
		ask("key", k.ID, "method", "GET", "path", "/v2/recognitions/j2")
		ask("key", k.ID, "method", "GET", "path", "/nowhere")
		ask("key", k.ID, "method", "POST", "path", "/v1/recognize", "at", "2000-01-01T00:00:00Z")
	}
	ask("key", "", "method", "POST", "path", "/v1/recognize")
	ask("key", "a b", "method", "POST", "path", "/v1/recognize")
	ask("key", "unknown-key", "method", "POST", "path", "/v1/recognize")
	ask("key", keys["active"].Secret.Reveal(), "method", "POST", "path", "/v1/recognize")
	f.advance(48 * time.Hour)
	b = f.operatorBrowser("suzuki")
	b.header.Set("Accept-Language", "ja")
	ask("key", keys["expired"].ID, "method", "GET", "path", "/v2/recognitions/j1")
	ask("key", keys["rotated"].ID, "method", "POST", "path", "/v1/recognize")
	for _, want := range []string{
		"キーは " + keys["active"].ID + " です（発行日時：2030-03-17 17:46:40 UTC）。",
		"キーのアカウント " + other.ID + " の状態は「停止中」です。",
		"キーは 2030-03-17 17:47:40 UTC に期限切れになりましたが、このキーで作成したジョブは、猶予期限の 2030-03-18 17:46:40 UTC まで取得できます。",
		"クライアントのアドレス 192.0.2.7 は、キーの許可アドレス（198.51.100.0/24）に含まれていません。",
		"キーの利用上限は requests=60/m、アカウントの全キーの合計に対する上限は concurrent=20 です。",
		"この操作は、キーの利用上限 operations=read_job に含まれていません。",
		"キーは 2030-03-17 17:47:40 UTC に期限切れになりました。このキーで作成したジョブの猶予期間は、2030-03-18 17:46:40 UTC に終了しました。",
	} {
		if !said[want] {
			t.Errorf("no rule says %s", want)
		}
	}
	if len(said) < 40 {
		t.Errorf("the rules say only %d sentences", len(said))
	}
}
