package gate

import (
	"errors"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/speechgate/speechgate/policy"
)

// refuseUnread answers a request whose body cannot be read, because the client is gone,
// sends too slowly, or sends too much. The gate answers by itself: routes for errors
// would get a request that holds the client's key and has not been judged. An error
// with a status of its own keeps that status, such as the 413 of request_body.
func (x *gatedRequest) refuseUnread(err error) error {
	if own, ok := errors.AsType[caddyhttp.HandlerError](err); ok {
		x.status = own.StatusCode
	}
	return x.refuse(policy.RequestMalformed, err.Error())
}
