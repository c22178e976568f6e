package process_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/gobackplane/backplane/transports/plugin/internal/process"
)

// beHost starts a plugin, says which, and waits to be killed.
func beHost(mode []string) {
	p, err := process.Start(context.Background(), process.Config{
		Program: os.Args[0], Args: append([]string{"plugin"}, mode...), StartTimeout: slow, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	if mode[0] == "with a child" {
		child, _ := tell(context.Background(), p, "child")
		fmt.Println("child", child)
	}
	fmt.Println("pid", p.PID())
	<-p.Done()
	fmt.Println("error", p.Err())
}
