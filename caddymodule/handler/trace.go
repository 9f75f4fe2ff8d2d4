package handler

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// trace sets the attributes of the decision on the span of Caddy's tracing handler, if the request
// has one that is recorded. A later decision on the same request replaces them.
func (d *DecisionRecord) trace(ctx context.Context) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(
		attribute.String("speechgate.reason", d.Reason.String()),
		attribute.String("speechgate.operation", d.Operation.String()),
		attribute.String("speechgate.backend", d.Counters.backend),
		attribute.String("speechgate.key_id", d.Owner.KeyID),
		attribute.String("speechgate.account_id", d.Owner.AccountID),
	)
}
