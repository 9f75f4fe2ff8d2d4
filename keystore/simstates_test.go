package keystore

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"slices"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// simState is what the keys were from an instant on.
type simState struct {
	at   time.Time
	keys map[digest]policy.Key
}

// note notes what has been committed: the number of the last change, and the keys.
func (s *simServer) note() error {
	last, err := simQuery(s.read, `SELECT COALESCE(MAX(seq), 0) FROM feed`, nil)
	if err != nil {
		return err
	}
	seq := last.values[0][0].(int64)
	if seq == s.lastSeq && len(s.states) > 0 {
		return nil
	}
	s.lastSeq = seq
	rows, err := simQuery(s.read, `SELECT `+foundColumns+` FROM `+keyTables, nil)
	if err != nil {
		return err
	}
	state := simState{time.Now(), make(map[digest]policy.Key, len(rows.values))}
	for _, row := range rows.values {
		k, stored, err := scanFound(simRow(row))
		if err != nil {
			return err
		}
		state.keys[digest(stored)] = k
	}
	s.states = append(s.states, state)
	return nil
}

// simRow is a row of an answer, for the functions that read the rows of the database.
type simRow []driver.Value

// Scan implements scanner.
func (r simRow) Scan(to ...any) error {
	for i, dest := range to {
		var err error
		switch d := dest.(type) {
		case *string:
			*d, _ = r[i].(string)
		case *[]byte:
			*d, _ = r[i].([]byte)
		case *bool:
			switch v := r[i].(type) {
			case bool:
				*d = v
			case int64:
				*d = v != 0
			}
		case *policy.Time:
			n, _ := r[i].(int64)
			*d = policy.Time(n)
		case sql.Scanner:
			err = d.Scan(r[i])
		default:
			err = fmt.Errorf("a column for a %T", dest)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// statesBetween returns the states that the database had from an instant on until another one, and the
// number of the first of them.
func (s *simServer) statesBetween(from, to time.Time) (states []simState, first int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, _ := slices.BinarySearchFunc(s.states, to, func(st simState, t time.Time) int {
		if st.at.After(t) {
			return 1
		}
		return -1
	})
	first, _ = slices.BinarySearchFunc(s.states, from, func(st simState, t time.Time) int {
		if st.at.After(t) {
			return 1
		}
		return -1
	})
	first = max(first-1, 0)
	return s.states[first:last], first
}

// changed reports whether a key is another one in a state than in the state before.
func (s *simServer) changed(state int, d digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, was := s.states[state-1].keys[d]
	other, is := s.states[state].keys[d]
	return was != is || one.AccountOpen != other.AccountOpen || one.AccountSuspended != other.AccountSuspended ||
		one.SuspendedAt != other.SuspendedAt || one.RevokedAt != other.RevokedAt || one.RevokeFrom != other.RevokeFrom || one.DeletedAt != other.DeletedAt
}

// suspended reports whether an account is suspended now.
func (s *simServer) suspended(account string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.states[len(s.states)-1].keys {
		if k.AccountID == account {
			return k.AccountSuspended
		}
	}
	return false
}
