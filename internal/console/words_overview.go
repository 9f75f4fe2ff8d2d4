package console

// japaneseOverview has the texts of the operator's overview, of the pages that create an account,
// and of what an account has.
var japaneseOverview = map[string]string{
	"Operators without a second factor:": "2段階認証を設定していない運用者：",
	"Keys that end in the next 14 days":  "今後14日間に終了するキー",
	"No key ends in the next 14 days.":   "今後14日間に終了するキーはありません。",
	"The last 24 hours":                  "直近24時間",
	"The last 30 days":                   "直近30日",
	"Suspended accounts":                 "停止中のアカウント",
	"Server":                             "サーバー",
	"none":                               "なし",

	"Part of the name, or ID":               "名前の一部、またはID",
	"Create an account":                     "アカウントの作成",
	"Create the account":                    "作成する",
	"Name of the customer":                  "お客様の名前",
	"The customer has a service ID already": "既存のサービスIDを引き継ぐ",
	"Leave both fields empty for a new service ID and a new service password.": "両方とも空欄にすると、新しいサービスIDとサービスパスワードを発行します。",
	"The account is created": "アカウントを作成しました",
	"This is the only time that the service password is shown. Pass it on in a safe way.":        "サービスパスワードが表示されるのは今回だけです。安全な方法でお客様に伝えてください。",
	"This form was sent before, and the service password was shown then. It is not shown again.": "このフォームは送信済みで、サービスパスワードはその際に表示されました。再表示はできません。",
	"The form has created another account before. Send it again to create this one too.":         "このフォームからは、すでに別のアカウントを作成しています。このアカウントも作成するには、もう一度送信してください。",
	"To the account": "アカウントの詳細へ",

	"The newest keys":             "最近発行されたキー",
	"The newest jobs":             "最近のジョブ",
	"All jobs":                    "ジョブ一覧",
	"Limits of all keys together": "全キーの合計に対する上限",
	"With spaces between them, for example requests=600/m concurrent=20 streams=10 audio=24h/d. Empty for no limits.": "空白で区切って入力します（例：requests=600/m concurrent=20 streams=10 audio=24h/d）。空欄の場合は上限なしになります。",
	"The limits of the account are changed.": "アカウントの利用上限を変更しました。",

	"Cut…":        "切断…",
	"Yes, cut it": "はい、切断します",
	"A client whose stream is cut can connect again with the same key. To keep it out, suspend or revoke the key: this cuts its streams too.": "切断しても、クライアントは同じキーで再接続できます。再接続を防ぐには、キーを停止または失効させてください。その際、ストリームも切断されます。",
}
