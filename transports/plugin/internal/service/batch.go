package service

import (
	"context"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports/plugin/internal/translate"
)

// batch does a driver's call for a slice: it reads the elements, and answers a message for each result.
func batch[M, V, R, A any](
	ctx context.Context, messages []*M, from func(*M, *V) error,
	do func(context.Context, []V) ([]R, error), to func(*A, *R),
) ([]*A, error) {
	values, err := translate.Unpack(messages, from)
	if err != nil {
		return nil, err
	}
	results, err := do(ctx, values)
	if err != nil {
		return nil, err
	}
	return translate.Pack(results, to), nil
}

// missing refuses a call that the transport does not offer; the host should not have made it.
func missing(what string) error {
	return fault.New(fault.Unsupported, "the plugin does not offer %s", what)
}
