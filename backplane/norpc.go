package backplane

import (
	"context"
	"io"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/rpc"
)

// noRPC stands where no transport is named for RPC, so that a node's RPC is never nil and says what is missing.
type noRPC struct{}

var errNoRPC = &fault.Error{Code: fault.Unsupported, Message: "no transport is named for RPC; name one under use.rpc"}

func (noRPC) Listen(context.Context, rpc.Address, func([]rpc.Frame)) (io.Closer, error) {
	return nil, errNoRPC
}

func (noRPC) Send(context.Context, []rpc.Frame) ([]error, error) { return nil, errNoRPC }

// refuseCalls makes every call Unsupported, before anything is looked at.
func refuseCalls(rpc.Invoker) rpc.Invoker {
	return func(context.Context, rpc.Request, func(rpc.Reply) bool) error { return errNoRPC }
}
