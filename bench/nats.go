package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/gobackplane/backplane/transports"

	_ "github.com/gobackplane/backplane/transports/nats"
)

// These are set in a child process that is to be a nats-server: one in this process would share its scheduler with both
// sides.
const (
	natsPort = "BENCH_NATS_PORT"
	natsDir  = "BENCH_NATS_DIR" // where it keeps its streams
)

// serveNATS runs the server and does not return, in such a child.
func serveNATS() {
	port, err := strconv.Atoi(os.Getenv(natsPort))
	if err != nil {
		return
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: os.Getenv(natsDir), DisableJetStreamBanner: true,
	})
	if err != nil {
		fail(err)
	}
	s.Start()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt)
	<-interrupted
	s.Shutdown()
	os.Exit(0)
}

func (e *env) startNATS(pinned bool) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-nats-")
	if err != nil {
		return err
	}
	e.cleanup(func() { os.RemoveAll(dir) })
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), natsPort+"="+strconv.Itoa(port), natsDir+"="+dir)
	if pinned {
		cmd.Env = append(cmd.Env, "GOMAXPROCS=1")
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	e.cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if pinned {
		if _, err := pin(cmd.Process.Pid); err != nil {
			return err
		}
	}
	e.addr = "127.0.0.1:" + strconv.Itoa(port)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		nc, err := nats.Connect("nats://" + e.addr)
		if err == nil {
			nc.Close()
			return nil
		}
		if time.Now().After(end) {
			return errors.Join(errors.New("nats-server did not answer within 10 s"), err)
		}
	}
}

// openNATS opens our transport on the row's server, as an application would.
func (e *env) openNATS() (transports.Transport, error) {
	t, err := transports.OpenURL(e.ctx, "nats://"+e.addr, transports.Settings{Namespace: "bench"})
	if err != nil {
		return nil, err
	}
	e.cleanup(func() { t.Close() })
	return t, nil
}

// rawNATS is a plain connection with the client's defaults, as a peer would use it.
func (e *env) rawNATS() (*nats.Conn, error) {
	nc, err := nats.Connect("nats://" + e.addr)
	if err != nil {
		return nil, fmt.Errorf("raw nats.go: %w", err)
	}
	e.cleanup(nc.Close)
	return nc, nil
}
