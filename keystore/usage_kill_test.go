package keystore

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const folderEnv = "KEYSTORE_TEST_FOLDER" // the store of a process that fills and folds the usage journal until it is killed

const (
	killedKeys = 1000 // more than a transaction of a fold writes
	killRounds = 8
)

// foldForEver counts a request for each key, and folds the journal every third time. It prints a
// line before and after each write.
func foldForEver(path string) {
	s, err := Open(context.Background(), configOf(inPlace(path), commandLine))
	for i := 0; err == nil; i++ {
		fixture{Store: s}.countEach(killedKeys)
		fmt.Println("begun")
		s.usage.flush(context.Background())
		fmt.Println("written")
		if i%3 == 2 {
			err = s.foldNow(context.Background())
		}
	}
	fmt.Println("error", err)
	os.Exit(1)
}

// foldUntilKilled starts a process that runs foldForEver, and kills it a while after it has begun its nth
// write. The results are how many times it has begun to write, and how many times it has written.
func foldUntilKilled(t *testing.T, path string, nth int64, after time.Duration) (begun, written int64) {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), folderEnv+"="+path)
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Error(err)
		return 0, 0
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		switch text := lines.Text(); {
		case text == "begun":
			if begun++; begun == nth {
				time.AfterFunc(after, func() { _ = child.Process.Kill() }) // SIGKILL
			}
		case text == "written":
			written++
		case strings.HasPrefix(text, "error"):
			t.Errorf("the other process: %s", text)
		}
	}
	_ = child.Wait()
	return begun, written
}

// Two processes write and fold the journal, and are killed at any place: no count is lost or doubled.
func TestUsageJournal_KilledProcesses(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	if err := openStore(t, path, commandLine).Close(); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	var most, least int64
	for round := range killRounds {
		nth := int64(1 + round%3) // in the second and the third, a write has come to its end
		type result struct{ begun, written int64 }
		results := make(chan result)
		for range 2 {
			after := time.Duration(random.IntN(150)) * time.Millisecond
			go func() {
				begun, written := foldUntilKilled(t, path, nth, after)
				results <- result{begun, written}
			}()
		}
		for range 2 {
			r := <-results
			most, least = most+r.begun, least+r.written
		}
	}
	f := openStore(t, path, commandLine)
	keys := f.usageOf(UsageList{Group: UsageByKey})
	if len(keys) != killedKeys || least == 0 {
		t.Fatalf("%d keys with usage of %d writes, want %d", len(keys), least, killedKeys)
	}
	for _, u := range keys {
		if n := u.Requests; n != keys[0].Requests || n < least || n > most {
			t.Errorf("%s: %d requests, want as many as %s has, and from %d to %d", u.KeyID, n, keys[0].KeyID, least, most)
		}
	}
	if n := f.sumOf(UsageList{}).Requests; n != killedKeys*keys[0].Requests {
		t.Errorf("%d requests of all keys, want %d", n, killedKeys*keys[0].Requests)
	}
	if n := f.journal(); n != 0 {
		t.Errorf("%d rows are left in the journal", n)
	}
}
