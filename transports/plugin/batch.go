package plugin

import (
	"context"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports/plugin/internal/translate"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

// batch is a driver's method for a slice of V, which answers an R for each; on the wire they are an M and an A.
type batch[V, R, M, A any] struct {
	lane     lane
	op       string
	harmless bool // it may be done twice
	ask      func([]*M, *pb.Request)
	answers  func(*pb.Answer) []*A
	to       func(*M, *V)
	from     func(*A, *R) error
	errOf    func(*R) *error
}

// call makes the call. The elements that check refuses do not cross.
func (b *batch[V, R, M, A]) call(ctx context.Context, n *node, given []V, check func(*V) error, h how) ([]R, error) {
	values, errs := sift(given, check)
	if len(values) == 0 {
		if _, err := n.ready(ctx, b.op, ""); err != nil {
			return nil, err
		}
		return b.merge(nil, errs, len(given)), nil
	}
	r := &pb.Request{}
	b.ask(translate.Pack(values, b.to), r)
	answer, err := n.call(ctx, b.lane, r, about{op: b.op, harmless: b.harmless, how: h})
	if err != nil {
		return nil, err
	}
	results, err := translate.Unpack(b.answers(answer), b.from)
	if err == nil && len(results) != len(values) {
		err = fault.New(fault.Corrupt, "the plugin answered %d results for %d elements", len(results), len(values))
	}
	if err != nil {
		return nil, n.garbled(err, b.op)
	}
	if errs == nil {
		return results, nil
	}
	return b.merge(results, errs, len(given)), nil
}

// merge puts the results of the elements that crossed between those that did not.
func (b *batch[V, R, M, A]) merge(results []R, errs []error, n int) []R {
	all := make([]R, n)
	for i := range all {
		if errs != nil && errs[i] != nil {
			*b.errOf(&all[i]) = errs[i]
			continue
		}
		all[i], results = results[0], results[1:]
	}
	return all
}

// sift is the elements that check lets pass, and what is wrong with the others; errs is nil when nothing is.
func sift[V any](given []V, check func(*V) error) (values []V, errs []error) {
	values = given
	for i := range given {
		err := check(&given[i])
		if err != nil && errs == nil {
			errs, values = make([]error, len(given)), append([]V(nil), given[:i]...)
		}
		switch {
		case err != nil:
			errs[i] = err
		case errs != nil:
			values = append(values, given[i])
		}
	}
	return values, errs
}

func itself(err *error) *error { return err }
