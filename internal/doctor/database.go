package doctor

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/speechgate/speechgate/keystore"
)

// checkDatabase checks the PostgreSQL server of the keystore, and the way to it. It returns the rights
// that the role lacks. ok is false if the server cannot be reached. An SQLite keystore has no server.
func (e *examination) checkDatabase(ctx context.Context) (lacking []string, ok bool) {
	if e.Store.Postgres == nil {
		return nil, true
	}
	e.checkPasswordFile()
	server, err := keystore.InspectServer(ctx, e.Store)
	if err != nil {
		remedy := "" // the reason has it
		if keystore.Unreachable(err) {
			remedy = "Make the server accept connections: start it, and look at its listen_addresses and max_connections and at the firewalls on the way. Or correct the host and the port of the connection string."
		}
		e.add(CheckKeystore, Fail, e.place, e.reason(err), remedy)
		return nil, false
	}
	e.checkServerOfDatabase(&server)
	e.checkDatabaseTLS(&server)
	e.checkNotifications(&server)
	e.add(CheckDisk, Skip, "", "The keystore is in PostgreSQL, and this machine does not see the disk of that server.", "")
	return server.Lacking, true
}

// checkPasswordFile checks who can read the file with the password of the database, and write it. Its group may read
// it: the file can belong to root, and the group to the server.
func (e *examination) checkPasswordFile() {
	const others = 0o026
	path := e.Store.Postgres.PasswordFile
	fi, err := os.Stat(path)
	if path == "" || err != nil || runtime.GOOS == "windows" { // connecting says why the file cannot be read
		return
	}
	if mode := fi.Mode().Perm(); mode&others != 0 {
		e.add(CheckPermissions, Warn, path, fmt.Sprintf("The file has the password of the database, and its mode is %04o: users other than its owner and its group can read it, or users other than its owner can write it.", mode),
			"chmod go-w,o= "+path)
	}
}

func (e *examination) checkServerOfDatabase(server *keystore.Server) {
	switch {
	case !server.Supported:
		e.add(CheckDatabase, Fail, e.place, "The server is PostgreSQL "+server.Version+", which is too old.", "Upgrade it to version 13 or later.")
	case server.Standby:
		e.add(CheckDatabase, Fail, e.place, "The server is a standby, which cannot be written: the gateway refuses all requests.",
			"Name the primary server, or all servers with target_session_attrs=read-write.")
	case server.Pooler:
		e.add(CheckDatabase, Pass, e.place, "PostgreSQL "+server.Version+" answers, through a pooler.", "")
	default:
		e.add(CheckDatabase, Pass, e.place, "PostgreSQL "+server.Version+" answers.", "")
	}
}

func (e *examination) checkDatabaseTLS(server *keystore.Server) {
	const remedy = "Write sslmode=verify-full into the connection string, and sslrootcert with the certificate of the authority."
	switch {
	case !server.Remote:
		e.add(CheckDatabaseTLS, Pass, "", "The connections to the database do not leave this machine.", "")
	case !server.Encrypted:
		e.add(CheckDatabaseTLS, Fail, e.place, "A connection to the database leaves this machine without TLS: everyone on the way reads and changes what the keystore says.", remedy)
	case !server.Verified:
		e.add(CheckDatabaseTLS, Warn, e.place, "The connections to the database have TLS, and the certificate of the server is not checked: another server could take its place.", remedy)
	default:
		e.add(CheckDatabaseTLS, Pass, e.place, "The connections to the database have TLS, and the certificate of the server is checked.", "")
	}
}

func (e *examination) checkNotifications(server *keystore.Server) {
	switch {
	case server.Standby:
		e.add(CheckNotifications, Skip, "", "A standby sends no notifications.", "")
	case server.Deaf != nil:
		e.add(CheckNotifications, Warn, e.place, "No notifications of changes come, so the gateway reads the change feed every 100 ms: "+server.Deaf.Error()+".",
			"Name a connection that bypasses the pooler with direct in the block of the option keystore.")
	default:
		e.add(CheckNotifications, Pass, "", "Notifications of changes come.", "")
	}
}

func (e *examination) checkRights(lacking []string) {
	if len(lacking) > 0 {
		e.add(CheckPermissions, Fail, e.place, "The role of the gateway lacks rights on the keystore: "+strings.Join(lacking, ", ")+".",
			"Grant them, as docs/clustering.md shows.")
		return
	}
	e.add(CheckPermissions, Pass, "", "The role of the gateway may read and write the tables of the keystore.", "")
}
