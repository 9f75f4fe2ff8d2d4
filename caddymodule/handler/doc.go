// Package handler has what the HTTP handlers of the gateway share: the address of the client,
// the record of a decision (counters, placeholders, log fields), answers of the gateway
// itself, and cross-origin access (CORS).
package handler
