package console

import (
	"maps"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
	"golang.org/x/text/message/catalog"
)

// newCatalog returns the texts of all languages. The key of a text is the English text, as it
// is in the templates and in the code. TestEveryTextIsInJapanese holds that no text is missing.
func newCatalog() (catalog.Catalog, error) {
	c := catalog.NewBuilder(catalog.Fallback(language.English))
	for key, forms := range englishPlurals {
		if err := c.Set(language.English, key, plural.Selectf(1, "%d", plural.One, forms[0], plural.Other, forms[1])); err != nil {
			return nil, err
		}
	}
	for key, text := range japaneseTexts() {
		if err := c.SetString(language.Japanese, key, text); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// japaneseTexts returns the Japanese texts of all parts of the console, by key.
func japaneseTexts() map[string]string {
	all := make(map[string]string)
	for _, part := range []map[string]string{japanese, japaneseKeys, japaneseOperator, japaneseOverview, japaneseRecords, japaneseExplain, japaneseMistakes, japaneseMistakesIn, japaneseFields, japaneseProvider} {
		maps.Copy(all, part)
	}
	return all
}

// englishPlurals are the texts whose English has two forms, for one and for other numbers. The
// number is the first argument.
var englishPlurals = map[string][2]string{
	"in %d minutes":                            {"in %d minute", "in %d minutes"},
	"in %d hours":                              {"in %d hour", "in %d hours"},
	"in %d days":                               {"in %d day", "in %d days"},
	"%d minutes ago":                           {"%d minute ago", "%d minutes ago"},
	"%d hours ago":                             {"%d hour ago", "%d hours ago"},
	"%d days ago":                              {"%d day ago", "%d days ago"},
	"%d addresses":                             {"%d address", "%d addresses"},
	"%d further streams are not shown.":        {"%d further stream is not shown.", "%d further streams are not shown."},
	"%d recovery codes are left.":              {"%d recovery code is left.", "%d recovery codes are left."},
	"At most %d requests a minute.":            {"At most %d request a minute.", "At most %d requests a minute."},
	"At most %d requests at a time.":           {"At most %d request at a time.", "At most %d requests at a time."},
	"At most %d live streams at a time.":       {"At most %d live stream at a time.", "At most %d live streams at a time."},
	"At most %d minutes of audio a day (UTC).": {"At most %d minute of audio a day (UTC).", "At most %d minutes of audio a day (UTC)."},
	"At most %d minutes of audio in all.":      {"At most %d minute of audio in all.", "At most %d minutes of audio in all."},
	"Too many tries have failed. Wait %d seconds, and try again.": {
		"Too many tries have failed. Wait %d second, and try again.", "Too many tries have failed. Wait %d seconds, and try again.",
	},
}

// japanese has the texts that all pages share, and those of sign-in and settings.
var japanese = map[string]string{
	// Layout
	"Skip to the content":    "本文へ移動",
	"Pages":                  "ページ",
	"Connection":             "接続情報",
	"Keys":                   "APIキー",
	"Jobs":                   "ジョブ",
	"Overview":               "概要",
	"Sign out":               "サインアウト",
	"Colors":                 "配色",
	"as the device":          "端末に合わせる",
	"light":                  "ライト",
	"dark":                   "ダーク",
	"Times:":                 "時刻の表示：",
	"change":                 "変更",
	"Copy":                   "コピー",
	"Save":                   "保存",
	"Cancel":                 "キャンセル",
	"Continue":               "次へ",
	"Back to the start page": "トップページへ戻る",

	// Problems
	"Try again":                        "再試行してください",
	"Not sent from this page":          "このページからの送信ではありません",
	"The form cannot be read":          "フォームを読み取れません",
	"Not found":                        "見つかりません",
	"Too many tries":                   "試行回数が多すぎます",
	"Busy":                             "混み合っています",
	"Not available":                    "利用できません",
	"Not done":                         "処理できませんでした",
	"Unknown time zone":                "不明なタイムゾーン",
	"There is no such page or record.": "該当するページまたはデータはありません。",
	"The request came too early in the connection. Send it again.":                                "接続が確立する前のリクエストでした。もう一度送信してください。",
	"The request came from another site, so nothing was done. Open the page here, and try again.": "他のサイトから送信されたリクエストのため、何も実行していません。このサイトでページを開き、やり直してください。",
	"The form is too large or damaged, so nothing was done.":                                      "フォームのサイズが大きすぎるか、内容が壊れているため、何も実行していません。",
	"Too many tries have failed. Wait %d seconds, and try again.":                                 "失敗が続いたため、一時的に受け付けを停止しています。%d秒後にもう一度お試しください。",
	"Too many people are signing in. Try again in a few seconds.":                                 "サインインが集中しています。数秒後にもう一度お試しください。",
	"The keystore cannot be reached right now. Nothing is lost. Try again in a moment.":           "現在、キーストアにアクセスできません。データは失われていません。しばらくしてからもう一度お試しください。",
	"Nothing was changed: %s.":                                                  "変更は行われませんでした：%s",
	"Something went wrong here. The server's log says what.":                    "サーバーでエラーが発生しました。詳細はサーバーのログに記録されています。",
	"There is no time zone %s. Want a name such as Asia/Tokyo or Europe/Paris.": "タイムゾーン %s はありません。Asia/Tokyo や Europe/Paris のような名前を指定してください。",

	// Times
	"in less than a minute": "あと1分未満",
	"in %d minutes":         "あと%d分",
	"in %d hours":           "あと%d時間",
	"in %d days":            "あと%d日",
	"never":                 "なし",
	"just now":              "たった今",
	"%d minutes ago":        "%d分前",
	"%d hours ago":          "%d時間前",
	"%d days ago":           "%d日前",
	"never expires":         "無期限",

	// Sign-in
	"Sign in":                            "サインイン",
	"Account name or service ID":         "アカウント名またはサービスID",
	"Console password":                   "コンソールのパスワード",
	"The name or the password is wrong.": "名前またはパスワードが正しくありません。",
	"No password yet, or forgotten? Ask the operator of the service for a set-up link.": "パスワードが未設定の場合や忘れた場合は、サービスの運用者に設定用リンクの発行を依頼してください。",
	"Second factor": "2段階認証",
	"Code of your authenticator app, or a recovery code": "認証アプリのコード、またはリカバリーコード",
	"Set your password": "パスワードの設定",
	"For the account %s. You sign in with its name or its service ID, %s.": "アカウント「%s」のパスワードを設定します。サインインには、アカウント名またはサービスID（%s）を使います。",
	"For the operator %s. You sign in with this name.":                     "運用者「%s」のパスワードを設定します。サインインにはこの名前を使います。",
	"New password": "新しいパスワード",
	"%d characters or more. A sentence is good.": "%d文字以上。文章にすると覚えやすく安全です。",
	"The same password again":                    "新しいパスワード（確認）",
	"Set the password and sign in":               "パスワードを設定してサインイン",
	"This password is for the console only. The service password for the issuance API stays as it is.": "このパスワードはコンソール専用です。キー発行APIのサービスパスワードは変わりません。",
	"The link does not work": "リンクが無効です",
	"The link was used already, has expired, or is not complete. Ask the operator of the service for another one.": "リンクは使用済み、期限切れ、または一部が欠けています。サービスの運用者に再発行を依頼してください。",
	"The two passwords are not the same.":                                        "2つのパスワードが一致しません。",
	"The password is too short: want %d characters or more.":                     "パスワードが短すぎます。%d文字以上にしてください。",
	"The password is too long: want %d bytes or less.":                           "パスワードが長すぎます。%dバイト以下にしてください。",
	"The password has characters that cannot be typed everywhere.":               "パスワードに入力できない文字が含まれています。",
	"The password is easy to guess: choose another one.":                         "推測されやすいパスワードです。別のパスワードにしてください。",
	"The password is wrong.":                                                     "パスワードが正しくありません。",
	"The code is wrong or was used already. Wait for the next code of your app.": "コードが正しくないか、使用済みです。アプリに次のコードが表示されるまでお待ちください。",

	// After a change
	"You are signed out.":                                           "サインアウトしました。",
	"You are signed out on all devices.":                            "すべての端末からサインアウトしました。",
	"Your password is set, and you are signed in.":                  "パスワードを設定し、サインインしました。",
	"The password is changed, and all other sessions have ended.":   "パスワードを変更しました。他のセッションはすべて終了しました。",
	"The second factor is removed.":                                 "2段階認証を解除しました。",
	"The key is deleted. Requests with it are refused from now on.": "キーを削除しました。以後、このキーによるリクエストは拒否されます。",
	"The label is changed.":                                         "ラベルを変更しました。",

	// Settings
	"Settings":                        "設定",
	"An authenticator app is set up.": "認証アプリが設定されています。",
	"%d recovery codes are left.":     "未使用のリカバリーコード：%d個",
	"Remove the second factor…":       "2段階認証を解除…",
	"Remove it":                       "解除する",
	"Scan this picture with an authenticator app, or type the secret into it. Then enter the code that the app shows.": "認証アプリでこの画像を読み取るか、シークレットをアプリに入力してから、アプリに表示されたコードを入力してください。",
	"QR code with the secret below": "下記のシークレットのQRコード",
	"Code of the app":               "アプリのコード",
	"Set up":                        "設定する",
	"Scan the new code below, and try again.": "下の新しいQRコードを読み取り、もう一度お試しください。",
	"Change the password":                     "パスワードの変更",
	"Current password":                        "現在のパスワード",
	"Time zone":                               "タイムゾーン",
	"Sessions":                                "セッション",
	"This session began":                      "このセッションの開始：",
	"It ends after %d minutes without a page, and at the latest after %d hours.": "%d分間操作がない場合、または開始から%d時間後に終了します。",
	"Sign out on all devices": "すべての端末からサインアウト",
	"Recovery codes":          "リカバリーコード",
	"The second factor is set up, and all other sessions have ended.":                                                                         "2段階認証を設定しました。他のセッションはすべて終了しました。",
	"If you lose the device with your app, each of these codes lets you in once. They are not shown again: keep them where you keep secrets.": "認証アプリの端末を紛失したときは、各コードで1回ずつサインインできます。再表示されないため、安全な場所に保管してください。",
	"I have kept them": "保管しました",

	// Start pages
	"Your account has a password only.": "現在、パスワードのみで保護されています。",
	"Set up a second factor":            "2段階認証を設定する",
	"Account":                           "アカウント",
	"API URL":                           "API URL",
	"APIs":                              "対応API",
	"Service ID":                        "サービスID",
	"Service ID before":                 "以前のサービスID",
	"works until":                       "有効期限：",
	"Service password":                  "サービスパスワード",
	"It was shown when it was made, and is not stored. The operator of the service can make another one.": "発行時に一度だけ表示され、保存されていません。再発行はサービスの運用者に依頼してください。",
	"Limits of the account":                 "アカウントの上限",
	"Customer since":                        "利用開始",
	"You are signed in as the operator %s.": "運用者「%s」としてサインインしています。",
}

// japaneseKeys has the texts of the account holder's pages.
var japaneseKeys = map[string]string{
	"Key":                          "APIキー",
	"Issue a key":                  "キーを発行",
	"All keys":                     "キー一覧",
	"Label":                        "ラベル",
	"Status":                       "状態",
	"Origin":                       "発行元",
	"all":                          "すべて",
	"Show":                         "表示",
	"Show all":                     "すべて表示",
	"Expires":                      "有効期限",
	"Allowed from":                 "許可アドレス",
	"Last used":                    "最終利用",
	"Issued":                       "発行日時",
	"(no label)":                   "（ラベルなし）",
	"may issue":                    "発行権限",
	"any address":                  "制限なし",
	"Parts of the list":            "一覧のページ",
	"First part":                   "先頭へ",
	"Next part":                    "次へ",
	"No key matches.":              "条件に一致するキーはありません。",
	"The account has no keys yet.": "このアカウントにはまだキーがありません。",
	"active":                       "有効",
	"suspended":                    "停止中",
	"expired":                      "期限切れ",
	"deleted":                      "削除済み",
	"revoked":                      "失効",
	"initial":                      "初期キー",
	"console":                      "コンソール",
	"api":                          "発行API",
	"Key ID":                       "キーID",
	"Begins with":                  "先頭の文字列",
	"Ends already":                 "終了予定",
	"Issuance right":               "発行権限",
	"yes":                          "あり",
	"no":                           "なし",
	"Limits":                       "利用上限",
	"Deleted":                      "削除日時",
	"Revoked":                      "失効日時",
	"Suspended":                    "停止日時",
	"Jobs that this key created":   "このキーで作成したジョブ",
	"What would be decided on a request with this key": "このキーによるリクエストの判定",
	"Change the label":            "ラベルの変更",
	"Delete the key":              "キーの削除",
	"Delete the key…":             "キーを削除…",
	"Delete the key %s for good?": "キー %s を完全に削除しますか？",
	"Yes, delete it":              "はい、削除します",
	"Requests with the key are refused at once, and its live streams are cut. This cannot be undone.":                                           "このキーによるリクエストはただちに拒否され、利用中のストリームは切断されます。この操作は取り消せません。",
	"This key came with the account, so it cannot be deleted here. Ask the operator of the service to end it.":                                  "アカウント開設時に発行された初期キーのため、ここでは削除できません。無効にするには、サービスの運用者に依頼してください。",
	"This key is from the issuance API, so it cannot be deleted here. It ends when it expires; the operator of the service can end it earlier.": "発行APIで発行されたキーのため、ここでは削除できません。有効期限になると終了します。それより前に無効にするには、サービスの運用者に依頼してください。",
	"The key has ended already.": "このキーはすでに終了しています。",

	"Everything except the label is fixed once the key is issued. The next page shows what the key will be able to do.": "ラベル以外の内容は、発行後に変更できません。次のページで、発行されるキーでできることを確認できます。",
	"What the key is for, such as the name of a server. Only you and the operator see it.":                              "サーバー名など、キーの用途を入力します。表示されるのは、お客様とサービスの運用者だけです。",
	"Expiry":        "有効期限",
	"after":         "期間",
	"Number":        "数値",
	"Unit":          "単位",
	"minutes":       "分",
	"hours":         "時間",
	"days":          "日",
	"weeks":         "週間",
	"at the end of": "日付（その日の終わりまで）",
	"Date":          "日付",
	"One a line: an address (192.0.2.7), a block (192.0.2.0/24) or a range (192.0.2.10-192.0.2.20), IPv4 or IPv6. Empty: any address.": "1行に1件。アドレス（192.0.2.7）、CIDRブロック（192.0.2.0/24）、範囲（192.0.2.10-192.0.2.20）を、IPv4またはIPv6で入力します。空欄の場合は、どのアドレスからでも利用できます。",
	"You are calling from %s, via %s.":              "現在の接続元は %s（%s を経由）です。",
	"You are calling from %s.":                      "現在の接続元は %s です。",
	"Allow this address":                            "このアドレスを許可",
	"The key may issue further keys (issuance API)": "このキーで他のキーを発行できるようにする（発行API）",
	"Requests a minute":                             "1分あたりのリクエスト数",
	"Requests at a time":                            "同時リクエスト数",
	"Live streams at a time":                        "同時ストリーム数",
	"Minutes of audio a day":                        "1日あたりの音声（分）",
	"Minutes of audio in all":                       "音声の合計（分）",
	"Operations (none checked: all)":                "操作（未選択の場合はすべて）",
	"recognize":                                     "同期音声認識",
	"create_job":                                    "ジョブの作成",
	"read_job":                                      "ジョブの取得",
	"delete_job":                                    "ジョブの削除",
	"stream":                                        "リアルタイム認識",
	"list_jobs":                                     "ジョブの一覧",
	"info":                                          "情報の取得",
	"mint":                                          "一時トークンの取得",

	"Check the key": "内容の確認",
	"This is what the key will be able to do. It cannot be changed afterwards.": "発行されるキーの内容は次のとおりです。発行後は変更できません。",
	"What it can do":          "できること",
	"Issue the key":           "この内容で発行",
	"Change it":               "修正する",
	"%d of %d bits are fixed": "%d／%dビットを固定",
	"%d addresses":            "%d個のアドレス",
	"about 10^%d addresses":   "約10の%d乗個のアドレス",
	"The key will work from every address: anyone who finds it can use it.":                         "このキーはどのアドレスからでも利用できます。キーを入手した人は誰でも使えます。",
	"The key will not work from the address that you are calling from now, %s.":                     "現在の接続元 %s からは、このキーを利用できません。",
	"%s allows all IPv4 addresses and no IPv6 address. Leave the field empty to allow any address.": "%s はすべてのIPv4アドレスを許可しますが、IPv6アドレスは許可しません。すべてのアドレスを許可するには、空欄にしてください。",
	"%s allows all IPv6 addresses and no IPv4 address. Leave the field empty to allow any address.": "%s はすべてのIPv6アドレスを許可しますが、IPv4アドレスは許可しません。すべてのアドレスを許可するには、空欄にしてください。",
	"The key will never expire. It ends only when you delete it.":                                   "このキーには有効期限がありません。削除するまで有効です。",
	"It can issue further keys through the issuance API. They end no later than this key.":          "発行APIで他のキーを発行できます。発行されたキーが、このキーより後まで有効になることはありません。",
	"It cannot issue further keys.":            "他のキーは発行できません。",
	"It has no limits of its own.":             "キー固有の利用上限はありません。",
	", ":                                       "、",
	"Operations: %s.":                          "利用できる操作：%s",
	"At most %d requests a minute.":            "1分あたり最大%dリクエスト",
	"At most %d requests at a time.":           "同時に最大%dリクエスト",
	"At most %d live streams at a time.":       "同時に最大%dストリーム",
	"At most %d minutes of audio a day (UTC).": "1日（UTC）あたり最大%d分の音声",
	"At most %d minutes of audio in all.":      "合計で最大%d分の音声",

	"The key":           "発行されたキー",
	"The key is issued": "キーを発行しました",
	"Each example recognizes the file speech.wav in the current folder. Python needs the package requests. JavaScript needs Node.js 20 or later, and a file whose name ends in .mjs.": "どの例も、カレントディレクトリの speech.wav を音声認識します。Pythonの例にはrequestsパッケージが必要です。JavaScriptの例は、拡張子が .mjs のファイルに保存し、Node.js 20以降で実行してください。",
	"This is the only time that the key is shown. Copy it now, and keep it where you keep secrets.":                                                                                   "キーが表示されるのは今回だけです。今すぐコピーし、安全な場所に保管してください。",
	"This form was sent before, and the key was shown then. It is not shown again. If nobody has copied it, delete the key and issue another one.":                                    "このフォームは送信済みで、キーはその際に表示されました。再表示はできません。控えがない場合は、このキーを削除して新しいキーを発行してください。",
	"The form has issued another key before. Send it again to issue this one too.":                                                                                                    "このフォームからは、すでに別のキーを発行しています。このキーも発行するには、もう一度送信してください。",
	"To the key": "キーの詳細へ",

	"Jobs of the key %s.": "キー %s のジョブ",
	"Job ID":              "ジョブID",
	"State":               "状態",
	"Created":             "作成日時",
	"Ended":               "終了日時",
	"Client":              "クライアント",
	"Grace until":         "猶予期限",
	"unknown":             "不明",
	"queued":              "待機中",
	"started":             "開始済み",
	"processing":          "処理中",
	"completed":           "完了",
	"error":               "エラー",
	"In its grace, a key that has expired can still read the jobs that it created.": "期限切れのキーでも、猶予期間中は、そのキーで作成したジョブを取得できます。",
	"There are no recorded jobs.": "記録されたジョブはありません。",
}
