// Package handler holds what the HTTP handlers of the gateway share: the address of a
// client, the record of a decision (counters, placeholders, log fields), answers of the
// gateway's own, and cross-origin access (CORS).
package handler
