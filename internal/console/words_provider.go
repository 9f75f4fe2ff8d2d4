package console

// japaneseProvider has the texts about the sign-in at an OpenID Connect provider.
var japaneseProvider = map[string]string{
	"Operators: sign in at %s": "運用者：%s でサインイン",
	"You are signed in":        "サインインしました",
	"You are not signed in":    "サインインできませんでした",
	"%s says that you are %s, and no operator signs in there by this name. Ask the operator of the service for an invitation, and sign in there while the invitation works.": "%s では「%s」として認証されましたが、この名前でサインインできる運用者は登録されていません。サービスの運用者に招待を依頼し、招待の有効期間中にもう一度サインインしてください。",
	"%s refuses the sign-in: %s.":                                                                "%s にサインインを拒否されました（%s）。",
	"The answer of %s was refused. The server's log says why.":                                   "%s からの応答を検証できませんでした。詳細はサーバーのログに記録されています。",
	"%s cannot be reached right now. Try again in a moment. Users with a password can sign in.":  "現在、%s に接続できません。しばらくしてからもう一度お試しください。パスワードによるサインインは利用できます。",
	"%s has no verified email address of yours.":                                                 "%s に、確認済みのメールアドレスが登録されていません。",
	"This browser has not begun the sign-in, or it has taken more than %d minutes. Begin again.": "このブラウザーで開始したサインインではないか、開始から%d分を過ぎています。もう一度やり直してください。",

	"the provider's": "認証元の設定",
	"If %s knows you by this name, you can sign in there instead, and need no password here:":          "%s にこの名前で登録されている場合は、そちらでサインインできます。その場合、ここでパスワードを設定する必要はありません：",
	"An operator whose name is the one that %s knows can sign in there instead, while the link works.": "運用者の名前が %s での名前と同じ場合は、リンクの有効期間中に、パスワードの代わりにそちらでサインインすることもできます。",

	"Sign-in": "サインイン方法",
	"You sign in at %s. The password and the second factor are changed there.": "%s でサインインしています。パスワードや2段階認証の設定は、そちらで変更してください。",
	"Signing out here does not sign you out there.":                            "ここでサインアウトしても、認証元からはサインアウトされません。",
}
