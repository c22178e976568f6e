package service

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports/plugin/internal/exchange"
	"github.com/gobackplane/backplane/transports/plugin/internal/translate"
	pb "github.com/gobackplane/backplane/transports/plugin/internal/transportv1"
)

// serving is one exchange: what is under way on it, and what it has subscribed to.
type serving struct {
	service *Service
	node    *node
	out     *exchange.Outbox
	life    context.Context
	work    sync.WaitGroup // one for each request under way

	mu       sync.Mutex
	stopped  bool // takes no more requests
	requests map[uint64]context.CancelFunc
	feeds    map[uint64]feed
}

type exchangeStream = grpc.BidiStreamingServer[pb.ExchangeRequest, pb.ExchangeResponse]

// Exchange works on the requests of one stream until it ends.
func (s *Service) Exchange(stream exchangeStream) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	node, err := s.serve(first.GetNode())
	if err != nil {
		return statusOf(err)
	}
	defer s.serving.Done()
	x := &serving{service: s, node: node, requests: map[uint64]context.CancelFunc{}, feeds: map[uint64]feed{}}
	x.out = exchange.NewOutbox(exchange.PartOfResponses, func(encoded []byte) error {
		return stream.SendMsg(exchange.Responses(encoded))
	})
	var end context.CancelFunc
	x.life, end = context.WithCancel(stream.Context())
	defer end()
	var writer sync.WaitGroup
	writer.Go(x.out.Run)
	read := make(chan error, 1) // a read ends with the stream, which ends with the return from here
	go func() { read <- x.read(stream, first) }()
	select {
	case err = <-read:
		end()
	case <-s.ending:
		err = status.Error(codes.Unavailable, errEnding.Error())
		defer time.AfterFunc(finishWithin, end).Stop()
	}
	x.mu.Lock()
	x.stopped = true
	x.mu.Unlock()
	x.work.Wait()
	x.closeFeeds()
	x.out.Finish()
	writer.Wait()
	return err
}

// finishWithin is how long calls may take to finish when the plugin ends; what waits for longer is cancelled.
const finishWithin = time.Second

var errEnding = &fault.Error{Code: fault.Unavailable, Retryable: true, Message: "the plugin is ending"}

// read takes in what the host says until it has said all.
func (x *serving) read(stream exchangeStream, message *pb.ExchangeRequest) error {
	var parts exchange.Assembly
	for {
		if part := message.GetPart(); part != nil {
			whole := &pb.ExchangeRequest{}
			complete, err := parts.Add(part, whole)
			if err != nil {
				return statusOf(err)
			}
			message = whole
			if !complete {
				message = nil
			}
		}
		if err := x.handle(message); err != nil {
			return statusOf(err)
		}
		var err error
		if message, err = stream.Recv(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// handle begins what a message asks for.
func (x *serving) handle(m *pb.ExchangeRequest) error {
	for _, r := range m.GetRequests() {
		if err := x.begin(r); err != nil {
			return err
		}
	}
	for _, id := range m.GetCancels() {
		x.mu.Lock()
		cancel := x.requests[id]
		x.mu.Unlock()
		if cancel != nil {
			cancel()
		}
	}
	for _, c := range m.GetCredits() {
		x.mu.Lock()
		f := x.feeds[c.GetSubscription()]
		x.mu.Unlock()
		if f != nil {
			f.addCredit(c.GetBytes())
		}
	}
	return nil
}

// begin works on a request on a goroutine of its own.
func (x *serving) begin(r *pb.Request) error {
	ctx, cancel := x.life, context.CancelFunc(nil)
	if budget := r.GetBudget(); budget > 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(budget))
	} else {
		ctx, cancel = context.WithCancel(ctx)
	}
	entered, refusal := x.enter(r.GetId(), cancel)
	if !entered {
		cancel()
		if fault.CodeOf(refusal) == fault.Invalid {
			return refusal
		}
		return x.answer(&pb.Answer{Id: r.GetId(), Fault: translate.ToFault(refusal)})
	}
	go func() {
		defer x.work.Done()
		a := &pb.Answer{Id: r.GetId()}
		if err := x.run(ctx, r, a); err != nil {
			a.Fault, a.Result = translate.ToFault(err), nil
		}
		x.mu.Lock()
		delete(x.requests, r.GetId())
		x.mu.Unlock()
		cancel()
		if err := x.answer(a); err != nil {
			_ = x.answer(&pb.Answer{Id: a.GetId(), Fault: translate.ToFault(err)}) // this one is small
		}
	}()
	return nil
}

// enter counts a request in, or says why not. Invalid is what no host may do.
func (x *serving) enter(id uint64, cancel context.CancelFunc) (bool, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	_, known := x.requests[id]
	_, subscribed := x.feeds[id]
	switch {
	case known || subscribed:
		return false, fault.New(fault.Invalid, "request %d is under way already", id)
	case x.stopped:
		return false, errEnding
	case len(x.requests) >= exchange.MaxRequests:
		return false, fault.New(fault.Exhausted, "%d requests are under way, which is the limit; wait for some to be answered", exchange.MaxRequests)
	}
	x.requests[id] = cancel
	x.work.Add(1)
	return true, nil
}

// answer sends an answer. It fails for one that is too large.
func (x *serving) answer(a *pb.Answer) error {
	return exchange.Post(x.out, &pb.ExchangeResponse{Answers: []*pb.Answer{a}}, true)
}

// run does what a request asks for, and fills its answer in.
func (x *serving) run(ctx context.Context, r *pb.Request, a *pb.Answer) (err error) {
	defer func() {
		if problem := recover(); problem != nil {
			err = x.service.panicked("a call", problem)
		}
	}()
	t := x.node.transport
	if known, err := runCache(ctx, t.Cache(), r, a); known {
		return err
	}
	if known, err := runQueue(ctx, t.Queue(), r, a); known {
		return err
	}
	if known, err := runBus(ctx, t, r, a); known {
		return err
	}
	if known, err := x.runFeed(ctx, r, a); known {
		return err
	}
	return fault.New(fault.Unsupported, "the plugin does not know this call; it is perhaps older than its host")
}
