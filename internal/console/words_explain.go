package console

// japaneseExplain has what the rules of the page explain say: the texts of packages policy and manage.
var japaneseExplain = map[string]string{
	"It was decided before.": "これより前のルールで判定が確定しています。",

	// operation, early_data, credential, key
	"The gate does not let this operation through.":                              "この操作はゲートで許可されていません。",
	"The operation is %s.":                                                       "操作は %s です。",
	"It came as TLS early data, which anybody may have recorded and sent again.": "TLSのアーリーデータとして届いたリクエストです。第三者が記録して再送した可能性があります。",
	"It is not TLS early data.":                                                  "TLSのアーリーデータではありません。",
	"The key is named by its ID.":                                                "キーはIDで指定されています。",
	"There is no key.":                                                           "キーが指定されていません。",
	"The key %v.":                                                                "キーが正しくありません。%v",
	"The key has the form of one.":                                               "キーの形式に問題はありません。",
	"There is no such key.":                                                      "該当するキーはありません。",
	"The key %s was issued at %s, which is later.":                               "キー %s の発行日時は %s で、判定の日時より後です。",
	"The token was minted at %s for the key %s, which was issued at %s.":         "トークンは %s に、キー %s（発行日時：%s）で取得されました。",
	"The key is %s, issued at %s.":                                               "キーは %s です（発行日時：%s）。",

	// account, revocation, deletion
	"The key's account, %s, is %s.":                     "キーのアカウント %s の状態は「%s」です。",
	"The key was suspended at %s, and was not resumed.": "キーは %s に停止され、再開されていません。",
	"The key is not revoked.":                           "キーは失効していません。",
	"The key is not revoked before %s.":                 "キーは %s まで失効しません。",
	"The key was revoked at %s%s.":                      "キーは %s に失効しました%s。",
	"The key is revoked from %s on.":                    "キーは %s に失効しました。",
	"The key was deleted at %s%s.":                      "キーは %s に削除されました%s。",
	"The key is not deleted.":                           "キーは削除されていません。",
	", which counts at any instant":                     "（どの日時の判定にも適用されます）",

	// address, path
	"The client's address is not known, and the key may only be used from %s.":        "クライアントのアドレスが不明です。このキーを利用できるのは %s からだけです。",
	"The client's address, %s, is not among those that the key may be used from: %s.": "クライアントのアドレス %s は、キーの許可アドレス（%s）に含まれていません。",
	"The client's address, %s, is among those that the key may be used from: %s.":     "クライアントのアドレス %s は、キーの許可アドレス（%s）に含まれています。",
	"The key may be used from any address.":                                           "このキーはどのアドレスからでも利用できます。",
	"The path names no account.":                                                      "パスにアカウントの指定はありません。",
	"The path names the key's account, %s.":                                           "パスは、キーのアカウント %s を指定しています。",
	"The path names another account than the key's, %s.":                              "パスは、キーのアカウント %s とは別のアカウントを指定しています。",

	// expiry
	"The key does not expire.":                                                                      "キーは無期限です。",
	"The key expires at %s, which is later.":                                                        "キーの有効期限は %s で、まだ切れていません。",
	"The key expired at %s, and %s.":                                                                "キーは %s に期限切れになりました。%s",
	"grace is for reading jobs only":                                                                "猶予期間中にできるのは、ジョブの取得だけです。",
	"there is no grace for a job that is not recorded":                                              "記録のないジョブには、猶予期間がありません。",
	"grace is for the key that created the job, which is %s":                                        "猶予期間が適用されるのは、ジョブを作成したキー %s だけです。",
	"no grace is configured":                                                                        "猶予期間は設定されていません。",
	"the grace for reading the job that it created ended at %s":                                     "このキーで作成したジョブの猶予期間は、%s に終了しました。",
	"The token expired at %s, which no grace forgives.":                                             "トークンは %s に期限切れになりました。トークンに猶予期間はありません。",
	"The token expires at %s, which is later. %s":                                                   "トークンの有効期限は %s で、まだ切れていません。%s",
	"The key expired at %s, but it created the job, and the grace for reading that lasts until %s.": "キーは %s に期限切れになりましたが、このキーで作成したジョブは、猶予期限の %s まで取得できます。",

	// job
	"It names no job.": "ジョブを指定しないリクエストです。",
	"The job is not recorded, and such jobs are left to the backend.": "ジョブの記録がありません。記録のないジョブの扱いは、バックエンドに任せる設定です。",
	"The job is not recorded, and such jobs are refused.":             "ジョブの記録がありません。記録のないジョブへのリクエストは拒否されます。",
	"The job is of another account, %s.":                              "ジョブは別のアカウント %s のものです。",
	"The job is of the same account, %s.":                             "ジョブは同じアカウント %s のものです。",

	// issuance
	"A token can neither issue a key nor mint another token.": "トークンでは、キーの発行も、別のトークンの取得もできません。",
	"It does not ask for a key to be issued.":                 "キーの発行を求めるリクエストではありません。",
	"The key may issue keys.":                                 "このキーには発行権限があります。",
	"The key may not issue keys.":                             "このキーには発行権限がありません。",

	// limits
	"Reading jobs is never limited.": "ジョブの取得に、利用上限は適用されません。",
	"The limits are for the backend's operations: the issuance API has limits of its own.": "利用上限は、バックエンドへの操作に適用されます。発行APIの上限は別に定められています。",
	"The key's limits are %s, and those of all its account's keys together are %s.":        "キーの利用上限は %s、アカウントの全キーの合計に対する上限は %s です。",
	"The key's limits are %s.":                              "キーの利用上限は %s です。",
	"The limits of all the account's keys together are %s.": "アカウントの全キーの合計に対する上限は %s です。",
	"The key and its account have no limits.":               "キーにもアカウントにも、利用上限はありません。",
	"The account's limit %s is used up.":                    "アカウントの利用上限 %s を使い切っています。",
	"The key's limit %s is used up.":                        "キーの利用上限 %s を使い切っています。",
	"The operation is not within the account's limit %s.":   "この操作は、アカウントの利用上限 %s に含まれていません。",
	"The operation is not within the key's limit %s.":       "この操作は、キーの利用上限 %s に含まれていません。",
	"The request would exceed the account's limit %s.":      "このリクエストは、アカウントの利用上限 %s を超えます。",
	"The request would exceed the key's limit %s.":          "このリクエストは、キーの利用上限 %s を超えます。",
}
