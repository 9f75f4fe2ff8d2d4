package keystore

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// KeyOrder is an order of keys.
type KeyOrder uint8

// The orders. The zero value is the order in which keys were issued.
const (
	OrderIssued KeyOrder = iota
	// OrderLabel is the order of the labels, with ASCII letters in upper and lower case alike.
	// Without an account, it is the order of the accounts' IDs, and of the labels in each.
	OrderLabel
	// OrderEnd is the order of the ends: of the first of expiry, deletion and revocation. Keys
	// that never end are the last ones.
	OrderEnd
	// OrderUse is the order of the last uses. Keys that were never used come last, also if the
	// order is turned around.
	OrderUse
)

// keyWindows limit the work for one page of keys.
type keyWindows struct {
	// keys is how many keys a page looks at if it selects some of them. A filter that few keys
	// pass would otherwise make a page read all keys.
	keys int
	// first is how many labels a page of a search looks at before it asks for the index of the parts of
	// labels. A text that many labels contain fills the page with them, and would take the index long.
	first int
	// found is how long the page then waits for that index. Zero: it does not ask for it.
	found time.Duration
	// labels is how many labels it looks at after that.
	labels int
	// few is up to how many keys of an account are sorted for each page.
	few int
}

// defaultWindows are the windows that take up to 30 ms, besides the wait for the index.
var defaultWindows = keyWindows{keys: 3_000, first: 5_000, found: time.Second, labels: 20_000, few: 5_000} //nolint:gochecknoglobals // never changed

// boundedFound is how long a page waits for the index if its work is limited.
const boundedFound = 15 * time.Millisecond

// orderedKeys returns a page of [Store.Keys] in another order than OrderIssued, or of a search.
// The list consists of sections, one after the other.
func (s *Store) orderedKeys(ctx context.Context, list *KeyList, now policy.Time) (page []policy.Key, next string, err error) {
	if list.Limit < 0 {
		return nil, "", refuse(ErrInvalid, "a limit of %d: want the number of entries, or 0 for all", list.Limit)
	}
	sections, err := s.keySections(ctx, list, now)
	if err != nil {
		return nil, "", err
	}
	at, ok := parseKeyPosition(list, sections)
	if !ok {
		return nil, "", refuse(ErrInvalid, "cursor %.100q: want one that this list returned", list.Cursor)
	}
	page = []policy.Key{}
	for at.section < len(sections) {
		if list.Limit > 0 && len(page) == list.Limit {
			return page, at.cursor(list), nil
		}
		most := 0
		if list.Limit > 0 {
			most = list.Limit - len(page)
		}
		section := sections[at.section]
		if section[0].pattern != "" {
			found, reached, done, err := s.readQuickly(ctx, list, now, &section[0], at.values, most)
			page = append(page, found...)
			switch {
			case err != nil:
				return nil, "", err
			case done && reached == nil:
				return page, "", nil
			case done:
				return page, keyPosition{at.section, reached}.cursor(list), nil
			}
			at = keyPosition{at.section + 1, reached}
			continue
		}
		found, reached, err := s.readSection(ctx, list, now, section, at.values, most)
		if err != nil {
			return nil, "", err
		}
		page = append(page, found...)
		if reached != nil {
			return page, keyPosition{at.section, reached}.cursor(list), nil
		}
		at = keyPosition{section: at.section + 1}
	}
	return page, "", nil
}

// keySections returns the sections of a list. The parts of a section are merged.
func (s *Store) keySections(ctx context.Context, list *KeyList, now policy.Time) ([][]keyPart, error) {
	switch {
	case strings.HasPrefix(list.Search, keyIDPrefix):
		ids := keyPart{from: "api_keys", order: []string{"id"}, row: "rowid", join: "rowid", only: ofAccount(list)}
		ids.where = ids.where.and("id >= ? AND id < ?", list.Search, list.Search+lastCharacter)
		return [][]keyPart{{ids}}, nil
	case list.Search != "":
		return searchSections(list), nil
	case list.Order == OrderUse:
		return s.useSections(ctx, list)
	case list.Order == OrderIssued:
		return [][]keyPart{{issuedPart(list)}}, nil
	case list.Order == OrderEnd:
		return [][]keyPart{endParts(list, now)}, nil
	}
	return [][]keyPart{{labelPart(list)}}, nil
}

const (
	// keyIDPrefix is the beginning of each key ID.
	keyIDPrefix = "key_"
	// lastCharacter comes after every character of a label or an ID.
	lastCharacter = "\U0010ffff"
)

// ofAccount drops the keys of other accounts. The concatenation keeps PostgreSQL from reading all
// keys of the account to find those of the window.
func ofAccount(list *KeyList) (c condition) {
	if list.AccountID != "" {
		c = c.and("k.account_id || '' = ?", list.AccountID)
	}
	return c
}

// labelPart reads keys in the order of their labels.
func labelPart(list *KeyList) keyPart {
	if list.AccountID == "" {
		return keyPart{from: "api_keys", order: []string{"account_id", "lower(label)", "rowid"}, row: "rowid", join: "rowid", computed: true}
	}
	return keyPart{
		from: "api_keys", where: condition{}.and("account_id = ?", list.AccountID),
		order: []string{"lower(label)", "rowid"}, row: "rowid", join: "rowid", computed: true,
	}
}

// issuedPart reads keys in the order in which they were issued.
func issuedPart(list *KeyList) keyPart {
	p := keyPart{from: "api_keys", order: []string{"created_at", "id"}, row: "rowid", join: "rowid"}
	if list.AccountID != "" {
		p.where = p.where.and("account_id = ?", list.AccountID)
	}
	return p
}

// endParts reads keys in the order of their ends. For an account, the index has one origin after
// the other.
func endParts(list *KeyList, now policy.Time) (parts []keyPart) {
	part := keyPart{from: "api_keys", order: []string{firstEnd, "rowid"}, row: "rowid", join: "rowid", computed: true}
	var live condition
	if list.Status == "active" || list.Status == "suspended" {
		live = live.and(firstEnd+" > ?", now) // or the window would begin with keys that have ended
	}
	if list.AccountID == "" {
		part.where = live
		return []keyPart{part}
	}
	for _, origin := range []policy.Origin{policy.OriginInitial, policy.OriginConsole, policy.OriginAPI} {
		if list.Origin == 0 || list.Origin == origin {
			part.where = condition{"account_id = ? AND origin = ?", []any{list.AccountID, origin.String()}}
			if live.text != "" {
				part.where = part.where.and(live.text, live.args...)
			}
			parts = append(parts, part)
		}
	}
	return parts
}

// useSections has the keys that were used, and then the keys that were never used. The last
// uses of all accounts are in one index. For an account with few keys, its keys are sorted.
func (s *Store) useSections(ctx context.Context, list *KeyList) ([][]keyPart, error) {
	used := keyPart{from: "last_uses", order: []string{"at", "digest"}, row: "digest", join: "digest", only: ofAccount(list)}
	if list.AccountID != "" {
		few, err := s.hasFewKeys(ctx, list.AccountID, list.windows.few)
		if err != nil {
			return nil, err
		}
		if few {
			used = keyPart{
				from: "api_keys x CROSS JOIN last_uses y", where: condition{}.and("y.digest = x.digest AND x.account_id = ?", list.AccountID),
				order: []string{"y.at", "y.digest"}, row: "x.rowid", join: "rowid",
			}
		}
	}
	never := labelPart(list)
	never.only = never.only.and("u.digest IS NULL")
	return [][]keyPart{{used}, {never}}, nil
}

// placedKey is a key with the values of its columns of the order.
type placedKey struct {
	policy.Key

	place []any // int64, string or []byte
}

// readSection returns up to most keys of a section, 0 for all, from a place on. If the section
// may have further keys, reached is the place up to which it was read.
func (s *Store) readSection(ctx context.Context, list *KeyList, now policy.Time, parts []keyPart, from []any, most int) (page []policy.Key, reached []any, err error) {
	if parts[0].inAccounts {
		return s.readAccounts(ctx, list, now, &parts[0], from, most)
	}
	merged, looksAt := len(parts) > 1, list.windows.keys
	if from != nil && parts[0].computed {
		parts, from = splitParts(parts, from, list.NewestFirst), nil
	}
	if merged {
		looksAt /= len(parts)
	}
	var all []placedKey
	for i := range parts {
		found, end, err := s.readPart(ctx, list, now, &parts[i], looksAt, from, most)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, found...)
		if end != nil && (reached == nil || comparePlaces(end, reached) < 0 != list.NewestFirst) {
			reached = end
		}
		if !merged && (reached != nil || most > 0 && len(all) > most) {
			break // the parts that one was split into are one after the other
		}
	}
	if merged {
		slices.SortFunc(all, func(a, b placedKey) int {
			c := comparePlaces(a.place, b.place)
			if list.NewestFirst {
				c = -c
			}
			return c
		})
		if reached != nil { // beyond it, a part may have keys that were not read
			all = slices.DeleteFunc(all, func(k placedKey) bool {
				c := comparePlaces(k.place, reached)
				return c != 0 && c > 0 != list.NewestFirst
			})
		}
	}
	if most > 0 && len(all) > most {
		all = all[:most]
		reached = all[most-1].place
	}
	return keysOf(all), reached, nil
}

func keysOf(placed []placedKey) []policy.Key {
	keys := make([]policy.Key, len(placed))
	for i := range placed {
		keys[i] = placed[i].Key
	}
	return keys
}

// readPart returns up to most keys of a part and one more, or all if most is 0. If it drops some
// keys, it looks at so many. If the part may have further keys, end is the place up to which it was
// read.
func (s *Store) readPart(ctx context.Context, list *KeyList, now policy.Time, p *keyPart, looksAt int, from []any, most int) (found []placedKey, end []any, err error) {
	drops := p.only.text != "" || list.drops(now)
	window := math.MaxInt // all keys; the order of a window without a limit is not kept
	switch {
	case most > 0 && !drops:
		window = most + 1
	case most > 0:
		window = max(p.window, looksAt, most+1)
	}
	var keys, last listQuery
	text := p.text(&keys, list, now, from, window, most)
	if most == 0 || !drops {
		found, err = query(ctx, s, p.scanKey, text, keys.args...)
	} else {
		lastText := p.lastText(&last, from, list.NewestFirst, window)
		// If keys of the window were pruned or issued between the two queries, the last place would be
		// that of another window, and the next page would skip or repeat keys.
		err = s.readSnapshot(ctx, func(tx querier) error {
			found, err = queryRows(ctx, tx, p.scanKey, text, keys.args...)
			if err != nil || len(found) > most {
				return err
			}
			places, err := queryRows(ctx, tx, p.scanPlace, lastText, last.args...)
			if len(places) > 0 {
				end = places[0]
			}
			return err
		})
	}
	switch {
	case err != nil:
		return nil, nil, err
	case most > 0 && len(found) > most:
		return found, found[most].place, nil
	}
	return found, end, nil
}
