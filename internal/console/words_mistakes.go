package console

// japaneseMistakes has the texts of mistakes, which are those of packages manage, keystore and policy,
// except those of japaneseMistakesIn.
var japaneseMistakes = map[string]string{
	// Any field
	"%s %s: did you mean %s?":                   "%s %s：%s の誤りではありませんか？",
	"%s %s: want %s":                            "%s %s：%s のいずれかを指定してください。",
	"%s or %s":                                  "%s または %s",
	"%s is missing: want %s":                    "%sが入力されていません。%sを入力してください。",
	"%s %s %s: want %s, %s…%s":                  "%[1]s %[2]s：%[3]s。%[5]s… の形式の%[4]sを指定してください。%[6]s",
	"is %s":                                     "これは%sです",
	"is not %s":                                 "%sではありません",
	"%s has %d bytes: want %d at most":          "%sが%dバイトあります。%dバイト以下にしてください。",
	"%s has %d bytes: want up to %d":            "%sが%dバイトあります。%dバイト以下にしてください。",
	"%s is %s: want %s":                         "%sに入力されたのは%sです。%sを入力してください。",
	"%s is for the operator only":               "%sを実行できるのは運用者だけです。",
	"a limit of %d: want the number of entries": "件数 %d：1以上の件数を指定してください。",
	"%s %d: want the number of entries":         "%s %d：1以上の件数を指定してください。",
	"a limit of %d: want the number of entries, or 0 for all":                 "件数 %d：0以上の件数を指定してください（0はすべて）。",
	"%s %d: want the number of entries, or 0 for all":                         "%s %d：0以上の件数を指定してください（0はすべて）。",
	"cursor %.100q: want one that this list returned":                         "一覧の位置 %.100q が正しくありません。一覧を最初から表示し直してください。",
	"%s: want one that this list returned":                                    "%sが正しくありません。一覧を最初から表示し直してください。",
	"%s has a key or service password in it, which is a secret: leave it out": "%sに、キーまたはサービスパスワードが含まれています。秘密の情報は入力しないでください。",
	"%s %q has characters that cannot be printed: want printable UTF-8":       "%s %q に、表示できない文字が含まれています。表示可能なUTF-8の文字を使用してください。",

	// The check of the audit trail
	"every entry was removed: there are accounts, and each has its entry":                                                        "すべての記録が削除されています。アカウントがあるのに、その作成の記録がありません。",
	"the entry about the pepper was removed":                                                                                     "ペッパーの追加の記録が削除されています。",
	"an entry about pruning was changed":                                                                                         "古い記録の削除を示す記録が改変されています。",
	"entry %d was changed: %v":                                                                                                   "%d番の記録が改変されています（%v）。",
	"entry %d was removed, with all up to %d that the head stands for: the trail ends before it":                                 "%d番から、ハッシュ値が示す%d番までの記録が削除されています。証跡はその手前で終わっています。",
	"entry %d was removed: entry %d comes next":                                                                                  "%d番の記録が削除されています。次の記録は%d番です。",
	"entry %d (%s of %s) was changed, or its hash, or those before it were rewritten":                                            "%d番の記録（%s、%s）かそのハッシュ値が改変されているか、それより前の記録が書き換えられています。",
	"entry %d is about entries that were pruned before their time":                                                               "%d番の記録は、保存期間が過ぎる前の記録の削除を示しています。",
	"entry %d is not the one that the head was noted of: it, or one before it, was rewritten, or the head is another keystore's": "%d番の記録は、ハッシュ値を控えたときの記録ではありません。",

	// What is absent
	"there is no %s %q":                          "%s %q はありません。",
	"there is no account with the ID or name %s": "%s というIDまたは名前のアカウントはありません。",
	"there is no user of the console %q":         "コンソールの利用者 %q はいません。",
	"the keystore has no such key: it was never issued or imported here, or its record has been pruned since it ended": "該当するキーは登録されていません。ここで発行または登録されたキーではないか、終了後に記録が削除されています。",
	"there is no record of a job %q: it may have been pruned, or not created through this gateway":                     "ジョブ %q の記録はありません。記録が削除されたか、このゲートウェイを経由せずに作成された可能性があります。",
	"there is no record of a job %q of backend %q: it may have been pruned, or not created through this gateway":       "ジョブ %q（バックエンド %q）の記録はありません。記録が削除されたか、このゲートウェイを経由せずに作成された可能性があります。",

	// IDs
	"an account ID":                         "アカウントID",
	"a key ID":                              "キーID",
	"a stream ID":                           "ストリームID",
	"a service ID":                          "サービスID",
	"an API key itself, which is a secret":  "APIキー本体（秘密の情報）",
	"a service password, which is a secret": "サービスパスワード（秘密の情報）",
	"the token of a set-up link, which is a secret":             "設定用リンクのトークン（秘密の情報）",
	"a part of a label, or a key ID":                            "ラベルの一部、またはキーID",
	"a part of the name of an account, or its ID or service ID": "アカウント名の一部、アカウントID、またはサービスID",

	// Accounts
	"%s is missing: a service password needs the service ID that it belongs to":                                                            "%sがありません。サービスパスワードを指定する場合は、対応するサービスIDも入力してください。",
	"%s is missing: want the customer's name, such as %s \"Example Corp.\"":                                                                "%sが入力されていません（%sの例：\"Example Corp.\"）。",
	"%s %s begins like %s: want another name, so that commands can find the account by it":                                                 "%s %s は%sと同じ文字で始まっています。アカウントを名前で指定できるように、別の名前にしてください。",
	"account %s (%q) is not closed yet: that would end its %s at once and for good, with their streams and grace windows; add %s to do it": "アカウント %[1]s（%[2]q）はまだ解約されていません。解約すると、%[3]sが、ストリームや猶予期間とともにただちに終了し、元に戻せません。解約するには、%[4]sのチェックを入れてください。",
	"%d active key":  "有効なキー%d個",
	"%d active keys": "有効なキー%d個",
	"%d accounts have the name %q: choose one by its ID, of %s":                                                   "名前が %[2]q のアカウントは%[1]d個あります。%[3]s の中から、IDで指定してください。",
	"the account has no name: want 1 to %d bytes of printable UTF-8":                                              "アカウントの名前がありません。表示可能なUTF-8の文字で、1～%dバイトの名前を入力してください。",
	"account %s was closed at %s, which is for good":                                                              "アカウント %s は %s に解約されています。解約は取り消せません。",
	"account %s was closed at %s: its holder cannot sign in":                                                      "アカウント %s は %s に解約されているため、サインインできません。",
	"account %s was closed at %s: no key can be issued for it":                                                    "アカウント %s は %s に解約されているため、キーを発行できません。",
	"account %s was closed at %s: it needs no service password":                                                   "アカウント %s は %s に解約されているため、サービスパスワードは不要です。",
	"account %s was suspended at %s: no key can be issued for it until it is resumed":                             "アカウント %s は %s に停止されています。再開するまで、キーを発行できません。",
	"account %s has another service ID now: no key can be issued by the one before":                               "アカウント %s のサービスIDは変更されています。以前のサービスIDではキーを発行できません。",
	"service ID %q: want 1 to %d visible ASCII characters":                                                        "サービスID %q：表示可能なASCII文字で、1～%d文字にしてください。",
	"service ID %q is that of account %s already":                                                                 "サービスID %q は、アカウント %s がすでに使用しています。",
	"the service ID has a key or service password in it: want the ID, which is no secret":                         "サービスIDの欄に、キーまたはサービスパスワードが含まれています。秘密の情報ではなく、サービスIDを入力してください。",
	"the service password has %d bytes: want %d to %d":                                                            "サービスパスワードが%dバイトです。%d～%dバイトにしてください。",
	"the service password has control characters, or is not UTF-8: want it as its owner types it, in one line":    "サービスパスワードに制御文字が含まれているか、UTF-8ではありません。実際に使用しているパスワードを1行で入力してください。",
	"operator's name %.80q: want 1 to %d letters, digits, and . _ - @ + behind the first of them, such as tanaka": "運用者名 %.80q：英数字（2文字目以降は . _ - @ + も使用可）で、1～%d文字にしてください（例：tanaka）。",
	"the user was changed at the same time: try again":                                                            "同時に別の変更が行われました。もう一度お試しください。",
	"%s %s: want the URL of the console's start page, such as https://speech.example.com/console/":                "%s %s：コンソールのトップページのURLを指定してください（例：https://speech.example.com/console/）。",

	// Keys
	"%s is missing: want the account's ID%s":             "%sがありません。アカウントIDを指定してください。%s",
	"%s is empty: leave it out to allow any address":     "%sが空です。すべてのアドレスを許可する場合は、指定を省略してください。",
	"%s is empty: leave it out for a key without limits": "%sが空です。上限を設けない場合は、指定を省略してください。",
	"the key %v": "キーが正しくありません。%v",
	"has the form of a Speechgate key, but its checksum is wrong: it was mistyped or cut off":               "Speechgateのキーの形式ですが、チェックサムが一致しません。入力の誤りか、途中で切れている可能性があります。",
	"has a space, a control character or a character that is not ASCII: want visible ASCII characters only": "空白、制御文字、またはASCII以外の文字が含まれています。表示可能なASCII文字だけにしてください。",
	"is longer than %d bytes":                                                    "%dバイトを超えています。",
	"the key would expire at %s, which is not after now (%s)":                    "キーの有効期限 %s は、現在（%s）より後ではありません。",
	"key %s is not of account %s, and cannot issue keys for it":                  "キー %s はアカウント %s のものではないため、このアカウントのキーを発行できません。",
	"key %s cannot issue keys: it has no issuance right, or is no longer active": "キー %s では発行できません。発行権限がないか、有効なキーではありません。",
	"key %s cannot be deleted: %v":                                               "キー %s は削除できません。%v",
	"key %s cannot be suspended: it is %s already":                               "キー %s は停止できません（状態：%s）。",
	"key %s cannot be resumed: it is %s, which is for good":                      "キー %s は再開できません（状態：%s）。",
	"key %s cannot be rotated: its account, %s, is closed":                       "キー %s はローテーションできません。アカウント %s は解約されています。",
	"key %s cannot be rotated: it or its account is suspended; resume it first":  "キー %s はローテーションできません。キーまたはアカウントが停止中です。先に再開してください。",
	"key %s cannot be rotated: it is %s; issue a new key instead":                "キー %s はローテーションできません（状態：%s）。新しいキーを発行してください。",
	"key %s cannot be rotated: it is revoked from %s on already, since it or the key that issued it was rotated; rotate its successor, or issue a new key": "キー %s はローテーションできません。このキーまたは発行元のキーがすでにローテーションされ、%s に失効します。後継のキーをローテーションするか、新しいキーを発行してください。",
	"it came from the issuance API (origin api), and such keys cannot be deleted: let it expire, or have the operator revoke it":                           "発行APIで発行されたキー（発行元：api）は削除できません。期限切れになるのを待つか、運用者に失効を依頼してください。",
	"it came with the account (origin %s), and such keys cannot be deleted: have the operator revoke it":                                                   "アカウント開設時に発行されたキー（発行元：%s）は削除できません。運用者に失効を依頼してください。",
	"a key of origin %s cannot carry the issuance right: only keys issued on the console or by the operator can":                                           "発行元が%sのキーに発行権限を付けることはできません。付けられるのは、コンソールまたは運用者が発行するキーだけです。",
	"unknown key origin %q: want initial, console or api":                                                                                                  "発行元 %q はありません。initial、console、api のいずれかを指定してください。",
	"it would outlive the key that issues it, which expires at %s":                                                                                         "発行元のキーの有効期限（%s）より後まで有効になるため、発行できません。",
	"it would outlive the key that issues it, which ends at %s":                                                                                            "発行元のキーが終了する %s より後まで有効になるため、発行できません。",
	"it would be good from any address, and the key that issues it is good from %s only":                                                                   "どのアドレスからでも利用できるキーになるため、発行できません。発行元のキーの許可アドレスは %s だけです。",
	"it would be good from %s, and the key that issues it is good from %s only":                                                                            "%s から利用できるキーになるため、発行できません。発行元のキーの許可アドレスは %s だけです。",
	"its limit %s would allow more than that of the key that issues it, which is %s":                                                                       "上限 %s が、発行元のキーの上限 %s より緩いため、発行できません。",

	// Lists of keys, usage
	"%s %s and %s: no key is both, since the latter lists active keys":  "%s %s と%sは同時に指定できません。後者で一覧になるのは、有効なキーだけです。",
	"%s %s: the keys of a search are in the order of their labels":      "%s %s：検索結果の並び順はラベル順で、変更できません。",
	"%s: it is for %s key, which lists the keys with the most requests": "%sは、%sが key（リクエスト数の多いキーの一覧）の場合だけ指定できます。",
	"%s %s belongs to another account, %s":                              "%s %s は、別のアカウント %s のものです。",
	"%s %s: want the word of an operation, such as recognize or stream": "%s %s：recognize や stream のような操作名を指定してください。",

	// Jobs, tokens and backends
	"job %q exists on %d backends: choose one with %s, of %s":                          "ジョブ %[1]q は%[2]d個のバックエンドにあります。%[4]s の中から、%[3]sを指定してください。",
	"%s %s is %s: want a job ID%s":                                                     "%s %s は%sです。ジョブIDを指定してください。%s",
	"job %q of backend %q, created at %s: want names of 1 to %d bytes and a time":      "ジョブ %q（バックエンド %q、作成日時 %s）：1～%dバイトの名前と日時を指定してください。",
	"job %q of backend %q is recorded already":                                         "ジョブ %q（バックエンド %q）はすでに記録されています。",
	"a token of backend %q: want a name of 1 to %d bytes":                              "バックエンド %q のトークン：1～%dバイトのバックエンド名を指定してください。",
	"a token of backend %q is empty: want the text that the backend has minted":        "バックエンド %q のトークンが空です。バックエンドが発行した文字列を指定してください。",
	"a token of backend %q %v":                                                         "バックエンド %q のトークンが正しくありません。%v",
	"a token of backend %q, minted at %s, expires at %s: want a time, and a later one": "バックエンド %q のトークン（取得日時 %s、有効期限 %s）：日時と、それより後の有効期限を指定してください。",
	"backend %q gave a token to %s that %s has already":                                "バックエンド %q が %s に渡したトークンは、%s がすでに使用しています。",
	"the configuration has several backends: choose one with %s, of %s":                "設定に複数のバックエンドがあります。%[2]s の中から、%[1]sを指定してください。",
	"%s %s: the configuration has no such backend: want %s":                            "%s %s は設定にありません。%s を指定してください。",
	"%s %s: no gate of this backend is configured":                                     "%s %s のゲートは設定されていません。",

	// Audit trail
	"%q: want a number, a colon and 64 hexadecimal digits, as \"audit verify\" prints them": "%q：番号、コロン、64桁の16進数を続けた形式で指定してください。",
	"the head is that of entry %d, which has been pruned since: give a newer one, or none":  "%d番の記録のハッシュ値ですが、その記録はすでに削除されています。より新しいハッシュ値を入力するか、空欄にしてください。",

	// Audit trail
	"%s %s: want %s, an ID or a name, or both as in \"operator tanaka\"": "%s %s：%s、IDもしくは名前、または両方（例：\"operator tanaka\"）を入力してください。",

	// Operators
	"operator %s is the last one who can sign in":                                              "運用者 %s は、サインインできる最後の運用者です。",
	"the operator's name has a key or service password in it, which is a secret: leave it out": "運用者名に、キーまたはサービスパスワードが含まれています。秘密の情報は入力しないでください。",

	// Import
	"%s is empty: want one key a line":                              "%sが空です。1行に1件のキーを指定してください。",
	"%s is longer than %d MiB: divide it":                           "%sが%d MiBを超えています。分割してください。",
	"%s is in UTF-16, as PowerShell writes files: save it in UTF-8": "%sがUTF-16です（PowerShellの既定の形式）。UTF-8で保存してください。",
}

// japaneseMistakesIn has the texts of mistakes in times, durations, addresses, limits and requests.
var japaneseMistakesIn = map[string]string{
	// Times
	"%s %s: %v: %s from now, a date such as %s, an instant such as %s, or never":        "%s %s：%v現在からの%s、日付（例：%s）、日時（例：%s）、または never を指定してください。",
	"%s %s: %v: %s for so long ago, a date such as %s, or an instant such as %s":        "%s %s：%v現在までの%s、日付（例：%s）、または日時（例：%s）を指定してください。",
	"%s %s: %v: want an instant such as %s":                                             "%s %s：%v日時（例：%s）を指定してください。",
	"%s %s: %v: %s":                                                                     "%s %s：%v%sを指定してください。",
	"%s %s: that is more than ten years: %s":                                            "%s %s：10年を超えています。%sを指定してください。",
	"%s: that is no time at all: %s":                                                    "%sが0になっています。%sを指定してください。",
	"want a duration such as 90s, 24h or 7d":                                            "期間（例：90s、24h、7d）",
	"an overlap of %s: want one from zero to ten years":                                 "併用期間 %s：0から10年までの期間を指定してください。",
	"that is beyond the year 9999":                                                      "9999年を超えています。",
	"that is longer than 106751d":                                                       "106751dを超えています。",
	"that is too long: want 106751d at most":                                            "長すぎます。106751d以下にしてください。",
	"that is negative":                                                                  "負の値です。",
	"that is not a whole number of milliseconds":                                        "ミリ秒単位の整数になっていません。",
	"there is no such day":                                                              "存在しない日付です。",
	"there is no such instant, or it is not spelled as in RFC 3339, with its time zone": "存在しない日時か、タイムゾーン付きのRFC 3339形式ではありません。",
	"that is no time":                                                                   "日時として読み取れません。",
	"that is no duration":                                                               "期間として読み取れません。",
	"that is %s, which is past":                                                         "過去の日時（%s）です。",
	"that is %s, which is not later than the beginning, %s":                             "開始（%[2]s）より後の日時（%[1]s）ではありません。",
	"that is %s, which is yet to come":                                                  "未来の日時（%s）です。",
	"the key would expire as it is issued":                                              "発行と同時に期限切れになります。",
	"that is more than a hundred years ago":                                             "100年より前です。",
	"that is more than a hundred years":                                                 "100年を超えています。",

	// Addresses
	"addresses %q: there is a comma too many":                      "アドレス %q：余分なコンマがあります。",
	"address %q: a range has no spaces around its hyphen: want %s": "アドレス %q：範囲のハイフンの前後に空白を入れず、%s と入力してください。",
	"address %q: %v": "アドレス %q：%v",
	"want an address (192.0.2.7), a CIDR block (192.0.2.0/24) or a range (192.0.2.10-192.0.2.20)": "アドレス（192.0.2.7）、CIDRブロック（192.0.2.0/24）、または範囲（192.0.2.10-192.0.2.20）を入力してください。",
	"there is none": "アドレスがありません。",
	"that is no client's address; to allow any address leave the list empty, or write %s/0": "クライアントのアドレスではありません。すべてのアドレスを許可するには、空欄にするか、%s/0 と入力してください。",
	"start of the range: %v":            "範囲の始点：%v",
	"end of the range: %v":              "範囲の終点：%v",
	"the range mixes IPv4 and IPv6":     "範囲にIPv4とIPv6が混在しています。",
	"the range is reversed: want %s-%s": "範囲の始点と終点が逆です。%s-%s と入力してください。",
	"the length after the slash must be a number from 0 to 32 for IPv4, to 128 for IPv6":             "スラッシュの後のプレフィックス長は、IPv4では0～32、IPv6では0～128の数にしてください。",
	"the block reaches beyond the IPv4 addresses that it is written in; write the IPv4 block itself": "ブロックがIPv4アドレスの範囲を超えています。IPv4のブロックをそのまま入力してください。",
	"bits are set beyond the block's length: want %s for the block, or %s for the one address":       "プレフィックス長より後ろのビットが0ではありません。ブロックの場合は %s、1個のアドレスの場合は %s と入力してください。",
	"a zone has a meaning on one machine only; write %s":                                             "ゾーンは1台のマシンの中でしか意味を持ちません。%s と入力してください。",
	"an IPv4 number has a leading zero, which some programs read as octal; write it without":         "IPv4の数が0で始まっています。8進数として読むプログラムがあるため、先頭の0を除いて入力してください。",
	"a client's port is never the same; write %s without it":                                         "クライアントのポート番号は毎回変わります。ポート番号を除いて、%s と入力してください。",

	// Limits
	"%s: %v": "%s：%v",
	"%s is missing: want a limit such as requests=600/m, requests=none to remove one, or none to remove all": "%sがありません。requests=600/m のような上限、上限を外す requests=none、またはすべて外す none を指定してください。",
	"unknown operation %.40q: want some of %s":                                                               "%.40q という操作はありません。%s の中から指定してください。",
	"none is no limit": "none は上限として指定できません。",
	"there is no limit in it: want some, such as requests=600/m, or none":                                              "上限が指定されていません。requests=600/m のような上限、または none を指定してください。",
	"unknown limit %.40q: want requests, concurrent, streams, audio, audio-total or operations, such as requests=60/m": "%.40q という上限はありません。requests、concurrent、streams、audio、audio-total、operations のいずれかを指定してください（例：requests=60/m）。",
	"the limit %s is given twice: want it once":                                                                        "上限 %s が2回指定されています。1回だけ指定してください。",
	"the limit %.60q: %v": "上限 %.60q：%v",
	"want requests a minute, from 1/m to 1000000000/m, such as requests=60/m": "1分あたりのリクエスト数を、1/m から 1000000000/m までで指定してください（例：requests=60/m）。",
	"want whole seconds of audio a day, such as audio=3600s/d":                "1日あたりの音声の長さを、整数の秒で指定してください（例：audio=3600s/d）。",
	"want whole seconds of audio, such as audio-total=36000s":                 "音声の長さを、整数の秒で指定してください（例：audio-total=36000s）。",
	"want a number from 1 to 1000000000, such as %s=4":                        "1から1000000000までの数を指定してください（例：%s=4）。",

	// Requests to explain
	"the client's address, such as 192.0.2.7":                                           "クライアントのアドレス（例：192.0.2.7）",
	"the request's method, such as POST":                                                "リクエストのメソッド（例：POST）",
	"the request's path, such as /v1/recognize":                                         "リクエストのパス（例：/v1/recognize）",
	"the API's name, such as %s":                                                        "APIの名前（例：%s）",
	"%s %s: want a method in capitals, such as GET or POST":                             "%s %s：GET や POST のように、大文字で指定してください。",
	"%s %s: want the address without the port, %s":                                      "%s %s：ポート番号を除いて、%s と入力してください。",
	"%s %s: want one address, such as 192.0.2.7 or 2001:db8::7":                         "%s %s：アドレスを1個だけ入力してください（例：192.0.2.7、2001:db8::7）。",
	"%s %s: want a path that begins with a slash, without query, such as /v1/recognize": "%s %s：スラッシュで始まり、クエリを含まないパスを入力してください（例：/v1/recognize）。",
}

// japaneseFields has the names of fields in mistakes, and the kinds of records and texts in them. The
// name of a field is as in [fieldNames.Field].
var japaneseFields = map[string]string{
	"account id": "アカウント", "actor": "実行者", "allow": "許可アドレス", "at": "日時", "backend": "バックエンド", "by": "集計単位", "client ip": "クライアントのアドレス",
	"confirm": "確認欄", "cursor": "一覧の位置", "dialect": "API", "expires": "有効期限", "expiring": "期限までの期間", "head": "ハッシュ値",
	"issued by": "発行元のキー", "job id": "ジョブID", "key id": "キーID", "label": "ラベル", "limit": "件数", "limits": "利用上限",
	"method": "メソッド", "name": "名前", "operation": "操作", "origin": "発行元", "overlap": "併用期間", "path": "パス", "reason": "理由",
	"search": "検索欄", "service id": "サービスID", "service password": "サービスパスワード", "since": "開始日", "until": "終了日", "action": "操作", "subject": "ID", "sort": "並び順", "status": "状態",
	"unused": "未使用の期間", "url": "URL", "within": "期間",

	"the actor": "実行者", "the subject": "ID",
	"the account's name": "アカウントの名前", "the key's label": "キーのラベル", "the reason": "理由", "the operator's name": "運用者名",
}
