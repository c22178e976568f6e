package plugin

import (
	"context"
	"io"
	"runtime"
	"sync"

	"google.golang.org/grpc"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/rpc"
	"github.com/gobackplane/backplane/transports"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

// Source is where a node gets its plugin from.
type Source = source

// OpenOn opens a node in a plugin that is reached by a connection.
func OpenOn(ctx context.Context, from Source, s transports.Settings) (transports.Transport, error) {
	return openNode(ctx, from, s, func() error { return nil })
}

// Always is a plugin that is never replaced.
type Always struct{ *grpc.ClientConn }

// Conn is its connection.
func (a Always) Conn(context.Context) (*grpc.ClientConn, error) { return a.ClientConn, nil }

// Down is nil.
func (a Always) Down() error { return nil }

// Say has a plugin say some things to a line on which request 1 reads an entry, and 2 to 4 subscribe, watch and listen. It
// gives the errors of the calls, and that of the exchange's end.
func Say(said ...*pb.ExchangeResponse) []error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s := &saying{said: said, ready: make(chan struct{})}
	var work sync.WaitGroup
	ended := make(chan error, 1)
	l := newLine(s, "n", &work, func(err error) { ended <- err })
	var calls sync.WaitGroup
	errs := make(chan error, 10)
	call := func(id uint64, feed receiver) {
		_, err := l.do(ctx, &pb.Request{Id: id}, how{feed: feed})
		if b, is := err.(broken); is {
			err = b.error
		}
		errs <- err
	}
	subscription := newSubscription(nil, pubsub.Filter{}, func([]pubsub.Event) {})
	watch := newWatch(nil, "", func([]cache.Change) {})
	listener := newListener(nil, "", func([]rpc.Frame) {})
	subscription.begin(func(int64) {})
	watch.begin(func(int64) {})
	listener.begin(func(int64) {})
	calls.Go(func() { call(1, nil) })
	calls.Go(func() { call(2, subscription) })
	calls.Go(func() { call(3, watch) })
	calls.Go(func() { call(4, listener) })
	for entered := 0; entered < 4; runtime.Gosched() {
		l.mu.Lock()
		entered = len(l.calls)
		l.mu.Unlock()
	}
	close(s.ready)
	calls.Wait()
	work.Wait()
	all := []error{<-ended}
	for range 4 {
		if err := <-errs; err != nil {
			all = append(all, err)
		}
	}
	return all
}

// saying is a stream from a plugin that says some things and ends.
type saying struct {
	grpc.ClientStream
	said  []*pb.ExchangeResponse
	ready chan struct{}
}

func (s *saying) Send(*pb.ExchangeRequest) error { return nil }
func (s *saying) SendMsg(any) error              { return nil }

func (s *saying) Recv() (*pb.ExchangeResponse, error) {
	<-s.ready
	if len(s.said) == 0 {
		return nil, io.EOF
	}
	next := s.said[0]
	s.said = s.said[1:]
	return next, nil
}
