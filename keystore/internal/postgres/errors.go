package postgres

import (
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

// The codes of PostgreSQL's errors. Source: Appendix A of its manual.
const (
	codeLockNotAvailable   = "55P03"
	codeDeadlock           = "40P01"
	codeSerialization      = "40001"
	codeDiskFull           = "53100"
	codeTooManyConnections = "53300"
	codeNoPrivilege        = "42501"
	codeReadOnly           = "25006"
	codeNoPassword         = "28P01"
	codeNoAuthorization    = "28000"
	codeNoDatabase         = "3D000"
	codeNoConnections      = "55000" // to this database, at present
	codeNoTable            = "42P01"
	codeBadText            = "22021" // bytes that are no text in the encoding of the database
	codeAdminShutdown      = "57P01"
	codeCrashShutdown      = "57P02"
	codeStarting           = "57P03" // the server starts or stops
	codeStatementExists    = "42P05" // a prepared statement of another client, behind a pooler
	codeNoStatement        = "26000"
	codeQueryCanceled      = "57014"
	codeTooOld             = "SGK01" // of check_program in the schema
)

// codeOf returns PostgreSQL's code of an error; empty if the error is not PostgreSQL's.
func codeOf(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

func hasCode(err error, codes ...string) bool { return slices.Contains(codes, codeOf(err)) }

// What an operator does who needs the role that owns the tables.
const (
	initAsOwner    = `run "caddy speechgate init" with the URL of this role, as in --keystore postgres://speechgate_migrate@db.example.com/speechgate, before a server starts`
	restoreAsOwner = "run the command with the URL of this role, as in --keystore postgres://speechgate_migrate@db.example.com/speechgate"
	copyAsOwner    = "name the database with the URL of this role, such as postgres://speechgate_migrate@db.example.com/speechgate"
)

// adviseOwner adds to an error of a statement that makes or changes a table that another role has this right, and what
// to do. The role of the gateway must not have the right.
func adviseOwner(err error, remedy string) error {
	if !hasCode(err, codeNoPrivilege) {
		return err
	}
	return engine.WithAdvice(err, "this needs the role that owns the tables, such as speechgate_migrate in docs/clustering.md: "+remedy)
}

// adviseLogin adds to an error of connecting what the operator can do about a login that the server refuses.
func (p Place) adviseLogin(err error) error {
	attempt, connecting := errors.AsType[*pgconn.ConnectError](err)
	refused, answered := errors.AsType[*pgconn.PgError](err)
	switch {
	case !connecting || !answered:
		return err
	case refused.Code == codeNoPassword:
		return engine.WithAdvice(err, p.passwordAdvice(attempt.Config.Password))
	case refused.Code == codeNoAuthorization && strings.HasSuffix(refused.Message, "is not permitted to log in"):
		return engine.WithAdvice(err, "let the role log in with ALTER ROLE ... LOGIN, or name another user in the connection string")
	case refused.Code == codeNoAuthorization:
		return engine.WithAdvice(err, "check the user of the connection string, and the server's pg_hba.conf")
	}
	return err
}

// advise adds to an error what the operator can do about it.
func advise(err error) error {
	return engine.WithAdvice(err, map[string]string{
		codeLockNotAvailable:   "other processes hold locks for long, such as a migration or a backup: try again",
		codeDiskFull:           "free space on the disk of the PostgreSQL server",
		codeTooManyConnections: "raise max_connections of the PostgreSQL server, or put PgBouncer in front of it",
		codeNoPrivilege:        "grant the role of the gateway the rights that docs/clustering.md lists",
		codeReadOnly:           "the server is a standby, or the role may only read: want the primary server, such as with target_session_attrs=read-write",
		codeNoDatabase:         "create the database, or name another one",
		codeStatementExists:    "a pooler is in between: add default_query_exec_mode=exec to the connection string",
		codeNoStatement:        "a pooler is in between: add default_query_exec_mode=exec to the connection string",
	}[codeOf(err)])
}
