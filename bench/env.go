package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// env is what a row runs in: a server of its own, reached directly or through a link that adds a delay.
type env struct {
	ctx      context.Context
	addr     string // where clients connect
	direct   *goredis.Client
	cleanups []func()
}

func newEnv(ctx context.Context, r row) (*env, error) {
	e := &env{ctx: ctx}
	if r.pinned {
		unpin, err := pin(os.Getpid())
		if err != nil {
			return nil, err
		}
		before := runtime.GOMAXPROCS(1) // as the runtime itself would choose on a machine of one core
		e.cleanup(func() { unpin(); runtime.GOMAXPROCS(before) })
	}
	start := e.startRedis
	if r.nats {
		start = e.startNATS
	}
	if err := start(r.pinned); err != nil {
		e.close()
		return nil, err
	}
	if r.delay > 0 {
		addr, stop, err := delayed(e.addr, r.delay/2)
		if err != nil {
			e.close()
			return nil, err
		}
		e.cleanup(stop)
		e.addr = addr
	}
	return e, nil
}

func (e *env) cleanup(f func()) { e.cleanups = append(e.cleanups, f) }

func (e *env) close() {
	for i := len(e.cleanups) - 1; i >= 0; i-- {
		e.cleanups[i]()
	}
}

func (e *env) startRedis(pinned bool) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	dir, err := os.MkdirTemp("", "backplane-bench-")
	if err != nil {
		return err
	}
	e.cleanup(func() { os.RemoveAll(dir) })
	cmd := exec.Command("redis-server", "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no")
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("redis-server is needed (make deps installs it): %w", err)
	}
	e.cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if pinned {
		if _, err := pin(cmd.Process.Pid); err != nil {
			return err
		}
	}
	e.addr = "127.0.0.1:" + strconv.Itoa(port)
	e.direct = goredis.NewClient(&goredis.Options{Addr: e.addr})
	e.cleanup(func() { e.direct.Close() })
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := e.direct.Ping(e.ctx).Err()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return errors.Join(errors.New("redis-server did not answer within 10 s"), err)
		}
	}
}

// client is a plain go-redis client with its defaults, as a peer would use it.
func (e *env) client() *goredis.Client {
	c := goredis.NewClient(&goredis.Options{Addr: e.addr})
	e.cleanup(func() { c.Close() })
	return c
}

// directAddr is the server itself, without the delay: for what is not measured.
func (e *env) directAddr() string { return e.direct.Options().Addr }

func (e *env) flush() error { return e.direct.FlushAll(e.ctx).Err() }

// usedMemory is what the server's data takes.
func (e *env) usedMemory() (float64, error) {
	info, err := e.direct.Info(e.ctx, "memory").Result()
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(info) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "used_memory_dataset:"); ok {
			return strconv.ParseFloat(v, 64)
		}
	}
	return 0, errors.New("INFO has no used_memory_dataset")
}
