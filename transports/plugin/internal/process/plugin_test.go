package process_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/gobackplane/backplane/transports/plugin/internal/process"
)

// bePlugin is what this binary does as a plugin. Each mode is one way to be good or bad.
func bePlugin(mode string) {
	options := process.ServeOptions{}
	switch mode {
	case "good":
	default:
		panic("no such mode: " + mode)
	}
	if err := process.Serve(register, options); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// register offers test.Echo/Say, which answers what it was told, after obeying it.
func register(s *grpc.Server) {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Echo",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Say", Handler: say}},
	}, struct{}{})
}

func say(_ any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
	var in wrapperspb.StringValue
	if err := decode(&in); err != nil {
		return nil, err
	}
	return intercept(ctx, &in, &grpc.UnaryServerInfo{FullMethod: "/test.Echo/Say"}, func(ctx context.Context, _ any) (any, error) {
		if err := obey(ctx, in.GetValue()); err != nil {
			return nil, err
		}
		return &in, nil
	})
}

func obey(ctx context.Context, order string) error {
	switch order {
	case "exit":
		os.Exit(7)
	case "panic":
		go panic("the plugin is broken")
		<-ctx.Done()
	case "sleep":
		time.Sleep(300 * time.Millisecond)
	}
	return nil
}

// tell has the plugin's test service called.
func tell(ctx context.Context, conn *grpc.ClientConn, order string) (string, error) {
	var out wrapperspb.StringValue
	err := conn.Invoke(ctx, "/test.Echo/Say", wrapperspb.String(order), &out)
	return out.GetValue(), err
}
