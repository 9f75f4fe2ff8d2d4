package admin

import (
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/manage"
)

// note describes a field or a parameter for people.
type note struct {
	text  string
	words func() []string // all values that the field can have; nil for any
}

// noteOf returns the note about a field: that of the struct's field or, if that field has no note, that of
// all fields with the name.
func noteOf(structName, fieldName string) note {
	if n, ok := notes[structName+"."+fieldName]; ok {
		return n
	}
	return notes[fieldName]
}

const idOrName = "The ID or the name of the account."

// notes has what the OpenAPI document says about fields and parameters.
var notes = map[string]note{
	// Records.
	"account_id":          {text: "The ID of the account."},
	"key_id":              {text: "The ID of the key."},
	"job_id":              {text: "The ID of the job at its backend."},
	"stream_id":           {text: "The ID of the live stream."},
	"label":               {text: "What the key is for: up to 200 bytes of printable text."},
	"name":                {text: "The name of the customer: 1 to 200 bytes of printable text."},
	"service_id":          {text: "The service ID, with which the account calls the issuance API."},
	"service_password":    {text: "The service password. It is a secret, and only in the answer that makes it."},
	"previous_service_id": {text: "The service ID from before the last rotation, while it still works."},
	"previous_until":      {text: "The instant at which previous_service_id stops working."},
	"created_at":          {text: "The instant at which the record was made."},
	"closed_at":           {text: "The instant at which the account was closed."},
	"suspended_at":        {text: "The instant at which the record was suspended. Null if it is not suspended itself."},
	"suspend_reason":      {text: "The reason of the suspension."},
	"key":                 {text: "The secret of the key. It is only in the answer that issues the key."},
	"origin":              {text: "Where the key came from: with its account, from an operator, or from the issuance API.", words: manage.KeyOrigins},
	"expires_at":          {text: "The instant at which the key expires. Null if the key does not expire."},
	"allow":               {text: "The addresses from which the key may be used: addresses, CIDR blocks and ranges. Empty for any address."},
	"limits":              {text: "How much may be used, such as requests=60/m. Empty for no limits."},
	"issuable":            {text: "Whether the key may issue keys through the issuance API."},
	"last_used_at":        {text: "The instant of the last use, accurate to a minute."},
	"revoke_from":         {text: "The instant from which the key is revoked, because it was rotated with an overlap."},
	"issuer_id":           {text: "The ID of the key that issued this key."},
	"prefix":              {text: "The first characters of the secret. Empty if only a digest was imported."},
	"revoked_at":          {text: "The instant at which the key was revoked."},
	"deleted_at":          {text: "The instant at which the key was deleted."},
	"revoke_reason":       {text: "The reason of the revocation."},
	"repeated":            {text: "True if an earlier request with the same Idempotency-Key had the effect. Its answer had the secret, and this answer has none."},
	"replaces":            {text: "The key that was rotated."},
	"children_revoked":    {text: "How many keys were revoked because the key had issued them."},
	"Account.status":      {text: "The status of the account.", words: manage.AccountStatuses},
	"Key.status":          {text: "The status of the key.", words: manage.KeyStatuses},
	"EndedKey.status":     {text: "The status of the key.", words: manage.KeyStatuses},
	"RotatedKey.status":   {text: "The status of the key.", words: manage.KeyStatuses},

	// Lists.
	"items":                {text: "The entries of this part of the list."},
	"next":                 {text: "The cursor of the next part. Null after the last part."},
	"limit":                {text: "The most entries of an answer, from 1 to 1000. Default: 100."},
	"cursor":               {text: "Where the part begins: the next of the part before. Default: the beginning of the list."},
	"newest_first":         {text: "Turns the order around."},
	"AccountQuery.status":  {text: "Selects the accounts with this status.", words: manage.AccountStatuses},
	"KeyQuery.account_id":  {text: idOrName + " Selects its keys."},
	"KeyQuery.status":      {text: "Selects the keys with this status.", words: manage.KeyStatuses},
	"KeyQuery.origin":      {text: "Selects the keys of this origin.", words: manage.KeyOrigins},
	"KeyQuery.label":       {text: "Selects the keys whose label contains this text, in upper or lower case."},
	"issued_by":            {text: "Selects the keys that the key with this ID issued."},
	"expiring":             {text: "Selects the active keys that expire within this duration, such as 14d."},
	"unused":               {text: "Selects the active keys that are older than this duration and were not used within it."},
	"search":               {text: "Selects the keys whose label begins with this text, and after them the keys whose label contains it elsewhere, in upper or lower case. A text that begins with key_ selects the keys whose ID begins with it."},
	"sort":                 {text: "The order: expiry is that of the first end, and keys that were never used come last in last_use. Default: issued.", words: manage.KeySorts},
	"jobsQuery.account_id": {text: idOrName + " Selects its jobs."},
	"jobsQuery.key_id":     {text: "Selects the jobs that the key with this ID created."},
	"jobQuery.backend":     {text: "The backend of the job. Needed if several backends have a job with this ID."},

	// Requests.
	"newAccountBody.service_id":       {text: "A service ID that the customer has already: 1 to 200 visible ASCII characters. It needs a service_password. Default: a new one."},
	"newAccountBody.service_password": {text: "The password that belongs to service_id: 8 to 1024 bytes."},
	"NewKey.account_id":               {text: idOrName},
	"NewKey.allow":                    {text: "The addresses from which the key may be used: addresses, CIDR blocks and ranges. Default: any address."},
	"NewKey.limits":                   {text: "How much the key may be used, such as requests=60/m or operations=recognize,stream. Default: no limits."},
	"NewKey.issuable":                 {text: "Lets the key issue keys through the issuance API. Default: false."},
	"expires":                         {text: "When the key expires: a duration from now (30d), a date (the end of that day in UTC), an instant in RFC 3339, or never."},
	"reason":                          {text: "Why, for people and the audit trail: up to 200 bytes of printable text."},
	"with_children":                   {text: "Revokes the keys too that the key has issued."},
	"overlap":                         {text: "How long the old secret works on: a duration such as 24h. Default: 0."},
	"confirm":                         {text: "Must be true: the keys of a closed account end for good."},
	"operator":                        {text: "The name of the person who makes the request."},

	// Jobs, streams, the audit trail.
	"backend":     {text: "The backend name of the gate."},
	"dialect":     {text: "The API that the gate speaks."},
	"client_ip":   {text: "The address of the client."},
	"state":       {text: "The state of the job."},
	"ended_at":    {text: "The instant at which the job ended."},
	"grace_until": {text: "The end of the grace window of the job. Null if there is none."},
	"grace_known": {text: "Whether a gate of the backend is configured, so that grace_until is known."},
	"begun_at":    {text: "The instant of the handshake."},
	"accepted_at": {text: "The instant at which the last start command was accepted. Null before the first."},
	"cut":         {text: "How many streams were cut."},
	"audit_error": {text: "Why the audit trail has no entry about the cut."},
	"seq":         {text: "The number of the entry."},
	"at":          {text: "The instant."},
	"actor_kind":  {text: "The kind of the actor: operator, account, key or store."},
	"actor_id":    {text: "The name of the operator, or the ID of the actor."},
	"actor_ip":    {text: "The address of the actor. Null for a command on the machine."},
	"action":      {text: "What was done."},
	"subject":     {text: "The ID of what was changed, or as the action says."},
	"detail":      {text: "A sentence for people."},
	"since":       {text: "Selects the entries since then: a duration before now (7d), a date, or an instant in RFC 3339."},
	"head":        {text: "A chain head."},
	"entries":     {text: "How many entries, from the first on, are unchanged."},
	"first":       {text: "The number of the first entry."},
	"fault":       {text: "What is wrong with the entry after these. Null if nothing is wrong."},

	"AuditQuery.account_id": {text: idOrName + " Selects its entries."},
	"verifyQuery.head":      {text: "A chain head that an earlier check returned: the audit trail must still contain its entry."},
	"CutOrder.account_id":   {text: idOrName},

	// Usage.
	"usageQuery.account_id":    {text: idOrName + " Selects its usage."},
	"usageQuery.key_id":        {text: "Selects the usage of the key with this ID."},
	"usageQuery.since":         {text: "Selects the usage since then: a duration before now (7d), a date, or an instant in RFC 3339."},
	"usageQuery.limit":         {text: "With by=key: the most keys, those with the most requests first. Default: 100."},
	"KeyUsageQuery.account_id": {text: idOrName + " Selects its keys."},
	"KeyUsageQuery.since":      {text: "Selects the usage since then: a duration before now (7d), a date, or an instant in RFC 3339. Keys without usage since then are left out, so that a part can have fewer entries than its limit."},
	"by":                       {text: "Makes one sum for each of these. Default: one sum of all.", words: manage.UsageGroups},
	"Usage.at":                 {text: "The beginning of the hour or of the day, in UTC. Null if the sum is not by hour or day."},
	"Usage.reason":             {text: "The reason, if the sum is by reason: docs/reasons.md explains each."},
	"requests":                 {text: "How many requests and start commands of streams there were, admitted or refused."},
	"refused":                  {text: "How many requests were refused."},
	"audio_bytes":              {text: "The size of the audio that went to the backend."},
	"audio_seconds":            {text: "The length of the audio whose format tells it."},
	"stream_seconds":           {text: "How long live streams have lasted."},

	// Forecasts.
	"ForecastQuery.account_id": {text: idOrName + " Selects its keys."},
	"within":                   {text: "How far to look ahead: a duration such as 30d. Default: 14d."},
	"account_name":             {text: "The name of the account."},
	"ends_at":                  {text: "The instant at which the key ends."},
	"ends_by":                  {text: "Why the key ends then: its expiry, the end of the overlap after its rotation, or the end of its issuer.", words: manage.EndsBy},
	"EndingKey.status":         {text: "The status of the key.", words: manage.KeyStatuses},
	"EndingKey.requests":       {text: "How many requests and start commands of streams there were in the last 7 days."},
	"EndingKey.refused":        {text: "How many of them were refused."},
	"EndingKey.audio_seconds":  {text: "The length of the audio of the last 7 days, whose format tells it."},
	"EndingKey.stream_seconds": {text: "How long live streams have lasted in the last 7 days."},
	"EndingKey.grace_until":    {text: "The end of the last grace window of the jobs that have not ended. Null if there is none."},
	"jobs":                     {text: "How many of the newest 500 jobs of the key have not ended, as far as the gateway has seen."},
	"job_ids":                  {text: "The IDs of these jobs, of the newest 10."},
	"children":                 {text: "How many keys the key has issued that have not ended: 1000 stands for 1000 or more."},
	"child_ids":                {text: "The IDs of the oldest 10 of them."},
	"limits_used":              {text: "The limits of the key and of its account, with how much of each is used."},

	// Explanations.
	"explainBody.key_id":    {text: "The ID of the key of the request. Without key_id and key, the request has no key."},
	"explainBody.key":       {text: "The secret of the key of the request, in place of key_id."},
	"explainBody.client_ip": {text: "The client's address."},
	"explainBody.at":        {text: "The instant of the request, in RFC 3339. Default: now."},
	"explainBody.dialect":   {text: "The API that the gate speaks. Default: amivoice.", words: dialect.Names},
	"explainBody.backend":   {text: "The backend name of the gate. Default: that of the only one configured."},
	"method":                {text: "The method of the request, in capitals."},
	"path":                  {text: "The path of the request, escaped, without the query."},
	"operation":             {text: "What the request asks for."},
	"rules":                 {text: "The rules, in the order in which they are checked."},
	"rule":                  {text: "The name of the rule."},
	"verdict":               {text: "ok, refused, not_applicable or not_reached."},
	"why":                   {text: "A sentence for people."},
	"allowed":               {text: "Whether the request is allowed."},
	"answer":                {text: "What the client of a refused request sees. Null if the request is allowed."},
	"retry_after":           {text: "The value of the header Retry-After, in seconds."},
	"body":                  {text: "The body of the answer."},
	"close_code":            {text: "The code of the Close frame after the body."},
	"close_reason":          {text: "The reason of the Close frame after the body."},
	"UsedLimit.limit":       {text: "The limit, such as requests=60/m."},
	"MetLimit.limit":        {text: "The limit, such as requests=60/m."},
	"KeyLimits.limits":      {text: "The limits of the key, and then those of its account, and how much of each is used now."},
	"limitsQuery.operation": {text: "The word of an operation, such as recognize. The answer then says which limit one more request for it would exceed, as met."},
	"MetLimit.retry_after":  {text: "When a request may succeed, in seconds. 0 if that is not known."},
	"of":                    {text: "Whose limit it is: key or account."},
	"used":                  {text: "Requests in the last minute, requests or live streams at a time, or seconds of audio. Null if it is not known, and for operations."},
	"met":                   {text: "The limit that one more request would exceed. Null if no limit is met, or if the query has no operation."},
	"Explanation.limits":    {text: "The limits of the key, and then those of its account, and how much of each is used now."},
	"Explanation.reason":    {text: "The reason: docs/reasons.md explains each."},
	"Refusal.status":        {text: "The status of the answer."},

	// The server.
	"Health.status":        {text: "ok: the keystore can be read and is the right one."},
	"live_streams":         {text: "How many live streams there are."},
	"remote_ip":            {text: "The address at the other end of the connection. Default: the caller's."},
	"forwarded_for":        {text: "The value of the header X-Forwarded-For."},
	"servers":              {text: "The HTTP servers of the configuration, by name."},
	"server":               {text: "The name of the server in the configuration."},
	"listen":               {text: "The addresses where the server listens."},
	"trusted_proxy":        {text: "Whether the server trusts the remote address as a proxy."},
	"SeenBy.client_ip":     {text: "The client address that the server takes: the addresses of keys are compared with it."},
	"Seen.actor_ip":        {text: "The caller's address, as the audit trail would have it. Null on a unix socket."},
	"canary":               {text: "The ID, which is the value of the field Speechgate-Canary."},
	"id":                   {text: "The ID of the canary."},
	"seen":                 {text: "What gates have seen of requests with the ID."},
	"connection":           {text: "The address of the connection. Empty if it has none."},
	"header":               {text: "The fields in which proxies name clients, such as X-Forwarded-For."},
	"Sighting.client_ip":   {text: "What the gate takes for the client's address. Empty if it is unknown."},
	"type":                 {text: "The kind of the problem."},
	"title":                {text: "The kind of the problem, for people."},
	"field":                {text: "The field, the parameter or the header that is wrong."},
	"error":                {text: "The same text as detail: Caddy's own errors have it there."},
	"Problem.status":       {text: "The status of the answer."},
	"Problem.detail":       {text: "What is wrong, and what would be right."},
	idempotencyHeader:      {text: "Identifies the request: if it is made again, nothing is made twice. 1 to 255 visible ASCII characters, such as a random UUID."},
	operatorHeader:         {text: "The name of the person who makes the request, for the audit trail."},
	"Idempotency-Replayed": {text: "true if an earlier request with the same Idempotency-Key had the effect."},
}
