package issuance_test

import (
	"fmt"
	"time"

	"github.com/speechgate/speechgate/internal/issuance"
	"github.com/speechgate/speechgate/policy"
)

func ExampleParseExpiry() {
	now := policy.At(time.Date(2031, time.February, 3, 9, 0, 0, 0, time.UTC))
	tokyo := time.FixedZone("Asia/Tokyo", 9*60*60)
	for _, epi := range []string{"60000", "30s", "2031/02/03", "2031/02/03 19:00:00", "2031-02-03T10:00:00Z", "yesterday"} {
		expires, err := issuance.ParseExpiry(epi, now, tokyo, 24*time.Hour)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(epi, "is", issuance.FormatExpiry(expires, tokyo))
	}
	// Output:
	// 60000 is 2031/02/03 18:01:00.000+09:00
	// 30s is 2031/02/03 18:00:30.000+09:00
	// 2031/02/03 is 2031/02/04 00:00:00.000+09:00
	// 2031/02/03 19:00:00 is 2031/02/03 19:00:00.000+09:00
	// 2031-02-03T10:00:00Z is 2031/02/03 19:00:00.000+09:00
	// epi "yesterday": that is no time: want milliseconds from now (60000), a number of s, m, h, d or w from now (30s) or an instant (2031/02/04 09:00:00Z), and 24h at most
}
