// Package keystoretest tests the contract of the keystore: what a Store does with every
// engine. Each engine runs the suite on real databases:
//
//	func TestContract(t *testing.T) {
//		keystoretest.Run(t, func(t *testing.T) keystore.Config {
//			return keystore.Config{Path: filepath.Join(t.TempDir(), "keystore.db")}
//		})
//	}
//
// The tests use only what package keystore exports. Tests of one engine, such as of a file
// that is replaced, are beside the engine or in package keystore.
package keystoretest

import (
	"testing"

	"github.com/speechgate/speechgate/keystore"
)

// Place returns the configuration of a new, empty place for a keystore. Stores that
// are opened with the same configuration share one database, as the stores of several
// processes do. The place is removed when the test ends.
type Place func(t *testing.T) keystore.Config

// Run runs every test of the contract, each in a place of its own. Call it from a test
// that is not parallel: some tests expect an effect in another process within 250 ms.
func Run(t *testing.T, place Place) {
	t.Helper()
	for _, c := range contract {
		t.Run(c.name, func(t *testing.T) {
			if c.mode == parallel {
				t.Parallel()
			}
			c.test(t, place)
		})
	}
}

// mode says whether a test may run beside others.
type mode bool

const (
	parallel mode = true
	timed    mode = false // expects an effect within 250 ms
)

// contract lists the tests by what they are about.
var contract = []struct {
	name string
	test func(*testing.T, Place)
	mode mode
}{
	{"FindService", testFindService, parallel},
	{"ImportAccount", testImportAccount, parallel},
	{"IssueKey_NotByARotatedServiceID", testIssueKeyNotByARotatedServiceID, parallel},

	{"R8_RotateAccountWithOverlap", testR8RotateAccountWithOverlap, parallel},
	{"Rename_ChangesTheTextOnly", testRenameChangesTheTextOnly, parallel},
	{"R20_LimitsOfAKeyAreFixedAtIssue", testR20LimitsOfAKeyAreFixedAtIssue, parallel},
	{"R20_LimitsOfAnAccountCanBeChanged", testR20LimitsOfAnAccountCanBeChanged, timed},
	{"SuspendAccount_UntilItIsResumed", testSuspendAccountUntilItIsResumed, timed},
	{"SuspendKey_UntilItIsResumed", testSuspendKeyUntilItIsResumed, parallel},

	{"Audit_SaysWhoDidWhat", testAuditSaysWhoDidWhat, parallel},
	{"Audit_Since", testAuditSince, parallel},
	{"IssueKey_Refuses", testIssueKeyRefuses, parallel},
	{"Keys_ComeBackAsIssued", testKeysComeBackAsIssued, parallel},
	{"R18_SecretsAreRefusedAsText", testR18SecretsAreRefusedAsText, parallel},
	{"R3_NeverIsItsOwnValue", testR3NeverIsItsOwnValue, parallel},
	{"R6_AnotherAccountsKeyIsNotFound", testR6AnotherAccountsKeyIsNotFound, parallel},
	{"R6_DeletionByOrigin", testR6DeletionByOrigin, parallel},
	{"R9_ClosingAnAccountEndsEveryKey", testR9ClosingAnAccountEndsEveryKey, timed},
	{"Text_IsNeverSQL", testTextIsNeverSQL, parallel},

	{"R7_ARotationScheduledLaterEndsTheChildrenToo", testR7ARotationScheduledLaterEndsTheChildrenToo, timed},
	{"R7_ASuccessorOfAChildIsBoundAsTheChildWas", testR7ASuccessorOfAChildIsBoundAsTheChildWas, parallel},
	{"R7_NoBoundChildOutlivesAScheduledEnd", testR7NoBoundChildOutlivesAScheduledEnd, parallel},
	{"RevokeKey_EndsAScheduledOneAtOnce", testRevokeKeyEndsAScheduledOneAtOnce, parallel},
	{"RotateKey_SuccessorHasTheSameRules", testRotateKeySuccessorHasTheSameRules, timed},
	{"RotateKey_WithoutOverlapRevokesAtOnce", testRotateKeyWithoutOverlapRevokesAtOnce, parallel},

	{"RevokeTree_EndsEveryChildAtOnce", testRevokeTreeEndsEveryChildAtOnce, parallel},
	{"RevokeTree_FollowsRotation", testRevokeTreeFollowsRotation, parallel},
	{"RevokeTree_RacesWithIssuing", testRevokeTreeRacesWithIssuing, parallel},

	{"R2_AnotherProcessesChangesCount", testR2AnotherProcessesChangesCount, timed},
	{"R2_RevokedKeyNeverSurvives", testR2RevokedKeyNeverSurvives, parallel},
	{"R2_SimilarSecretsDoNotCrossHit", testR2SimilarSecretsDoNotCrossHit, parallel},

	{"CreateJob_Refuses", testCreateJobRefuses, parallel},
	{"R10_AJobIDIsRecordedOnce", testR10AJobIDIsRecordedOnce, parallel},
	{"R10_JobIsThereWhenCreateReturns", testR10JobIsThereWhenCreateReturns, parallel},

	{"R10_TokenIsThereWhenRecordReturns", testR10TokenIsThereWhenRecordReturns, parallel},
	{"R2_ATokenEndsWithItsOwner", testR2ATokenEndsWithItsOwner, timed},
	{"R2_ATokenEndsWithTheScheduleOfItsOwner", testR2ATokenEndsWithTheScheduleOfItsOwner, parallel},
	{"RecordToken_Again", testRecordTokenAgain, timed},
	{"RecordToken_OfAnotherKey", testRecordTokenOfAnotherKey, parallel},
	{"RecordToken_Refuses", testRecordTokenRefuses, parallel},
	{"Prune_OfAKeyRemovesItsTokens", testPruneOfAKeyRemovesItsTokens, parallel},
	{"Prune_RemovesExpiredTokens", testPruneRemovesExpiredTokens, timed},
	{"Restore_BringsNoTokenBack", testRestoreBringsNoTokenBack, parallel},

	{"Import_KeysCanBeUsed", testImportKeysCanBeUsed, parallel},
	{"Import_ManyTakeSeconds", testImportManyTakeSeconds, parallel},
	{"Import_Refuses", testImportRefuses, parallel},
	{"Import_RefusesMalformedSecrets", testImportRefusesMalformedSecrets, parallel},
	{"R2_NegativeEntriesFallOnImport", testR2NegativeEntriesFallOnImport, timed},

	{"Prune_CountsFromTheScheduledRevocation", testPruneCountsFromTheScheduledRevocation, parallel},
	{"Prune_KeepsIssuers", testPruneKeepsIssuers, parallel},

	{"Restore_BringsNoKeyBackWhoseTreeEnded", testRestoreBringsNoKeyBackWhoseTreeEnded, parallel},
	{"Restore_InAServer", testRestoreInAServer, parallel},
	{"Restore_LeavesNoExpiredKeyToImport", testRestoreLeavesNoExpiredKeyToImport, parallel},
	{"Restore_RunningServerFollows", testRestoreRunningServerFollows, timed},

	{"GroupCommit_ReservedWritesAreDurable", testGroupCommitReservedWritesAreDurable, parallel},
	{"GroupCommit_AReleasedReservationDelaysNoOne", testGroupCommitAReleasedReservationDelaysNoOne, parallel},
	{"NoteUse_SurvivesClosing", testNoteUseSurvivesClosing, parallel},
	{"Watch_NotifiesOfAnotherProcess", testWatchNotifiesOfAnotherProcess, parallel},
	{"Prune_KeepsEndedKeysDead", testPruneKeepsEndedKeysDead, parallel},
	{"Close_IsFinal", testCloseIsFinal, parallel},
}
