package servers

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nuid"
)

// NATSOptions say how to run a nats-server. The zero value is one inside this process, on a free loopback port, with
// JetStream on files in a temporary folder.
type NATSOptions struct {
	Process     bool   // run it as a child process, which can be killed and paused; see RunNATSChild
	Dir         string // its folder, which must exist; empty: a temporary one, removed by Stop
	Port        int    // 0: a free one
	Username    string
	Password    string
	Token       string
	NKeys       []string // public keys of users
	TLS         *TLS     // speak only TLS, and ask clients for a certificate
	MaxPayload  int      // bytes; 0: the server's default, 1 MiB
	MaxPending  int64    // bytes waiting for a client before it is cut off; 0: the server's default, 64 MiB
	MaxStore    int64    // bytes of files that JetStream may have; 0: most of the disk
	NoJetStream bool
	SyncAlways  bool // every write of JetStream reaches the disk before it is acknowledged

	// Of a cluster; see StartNATSCluster.
	Name        string
	ClusterName string
	ClusterPort int
	Routes      []string
}

// NATS is a nats-server that this program started. Its methods may be called one at a time.
type NATS struct {
	options NATSOptions
	ownDir  bool

	mu      sync.Mutex
	inside  *server.Server
	process *process
}

// StartNATS starts a server and returns when it answers.
func StartNATS(ctx context.Context, o NATSOptions) (*NATS, error) {
	n := &NATS{options: o}
	var err error
	if o.Dir == "" {
		if n.options.Dir, err = os.MkdirTemp("", "nats-"); err != nil {
			return nil, fmt.Errorf("servers: start nats: %w", err)
		}
		n.ownDir = true
	}
	if o.Name == "" {
		n.options.Name = "n" + nuid.Next()
	}
	for range portAttempts {
		if o.Port == 0 {
			if n.options.Port, err = freePort(); err != nil {
				break
			}
		}
		if err = n.start(ctx); err == nil || o.Port != 0 || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		n.Stop()
		return nil, err
	}
	return n, nil
}

// Addr is host:port.
func (n *NATS) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(n.options.Port)) }

// Name is the server's name.
func (n *NATS) Name() string { return n.options.Name }

// URL is where the server is, with its password or token: nats://user:secret@127.0.0.1:4222, or tls:// with TLS.
func (n *NATS) URL() string { return n.URLAt(n.Addr()) }

// URLAt is URL with another address, such as a proxy's.
func (n *NATS) URLAt(addr string) string {
	u := url.URL{Scheme: "nats", Host: addr}
	if n.options.TLS != nil {
		u.Scheme = "tls"
	}
	switch {
	case n.options.Username != "":
		u.User = url.UserPassword(n.options.Username, n.options.Password)
	case n.options.Token != "":
		u.User = url.User(n.options.Token)
	}
	return u.String()
}

// Server is the server itself where it runs inside this process, and nil otherwise.
func (n *NATS) Server() *server.Server {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.inside
}

// Stop ends the server, waits for it, and removes its folder if StartNATS made it. Stopping twice is fine.
func (n *NATS) Stop() {
	n.end(false)
	if n.ownDir {
		_ = os.RemoveAll(n.options.Dir)
	}
}

// Kill ends a child process as a crash would; a server inside this process can only be shut down. Restart starts it
// again.
func (n *NATS) Kill() { n.end(true) }

// Restart starts the server again on the same port and in the same folder, after ending it if it runs.
func (n *NATS) Restart(ctx context.Context) error {
	n.end(false)
	var err error
	for range portAttempts {
		if err = n.start(ctx); err == nil || ctx.Err() != nil {
			break
		}
	}
	return err
}

// Pause stops a child process in its tracks (SIGSTOP): its connections stay up and nothing answers. It returns when that
// is so, where the system tells (Linux): of several threads some run on for a moment.
func (n *NATS) Pause() error {
	if err := n.signal(pause); err != nil {
		return err
	}
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(100 * time.Microsecond) {
		if stopped, known := n.stopped(); stopped || !known {
			break
		}
	}
	return nil
}

// stopped says whether every thread of the child stands still.
func (n *NATS) stopped() (stopped, known bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process == nil {
		return false, false
	}
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", n.process.cmd.Process.Pid))
	if err != nil || len(threads) == 0 {
		return false, false
	}
	for _, path := range threads {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		after := stat[bytes.LastIndexByte(stat, ')')+1:] // the name before it may hold anything
		if len(after) < 2 || after[1] != 'T' {
			return false, true
		}
	}
	return true, true
}

// Resume lets a paused server go on.
func (n *NATS) Resume() error { return n.signal(resume) }

func (n *NATS) signal(send func(*os.Process) error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process == nil || !n.process.running() {
		return errors.New("servers: nats does not run as a process")
	}
	return send(n.process.cmd.Process)
}

func (n *NATS) end(kill bool) {
	n.mu.Lock()
	inside, child := n.inside, n.process
	n.inside, n.process = nil, nil
	n.mu.Unlock()
	if inside != nil {
		inside.Shutdown()
		inside.WaitForShutdown()
	}
	if child == nil {
		return
	}
	if kill {
		child.kill()
	} else {
		child.stop(stopPatience)
	}
}

func (n *NATS) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	var err error
	if n.options.Process {
		err = n.startProcess()
	} else {
		err = n.startInside()
	}
	if err != nil {
		return err
	}
	if err := n.await(ctx); err != nil {
		n.end(true)
		return err
	}
	return nil
}

func (n *NATS) startInside() error {
	s, err := n.options.newServer()
	if err != nil {
		return err
	}
	s.Start()
	n.mu.Lock()
	n.inside = s
	n.mu.Unlock()
	return nil
}

// newServer makes the server that the options describe.
func (o *NATSOptions) newServer() (*server.Server, error) {
	so := &server.Options{
		ServerName: o.Name, Host: "127.0.0.1", Port: o.Port, NoLog: true, NoSigs: true,
		Username: o.Username, Password: o.Password, Authorization: o.Token,
		MaxPayload: int32(o.MaxPayload), MaxPending: o.MaxPending,
		JetStream: !o.NoJetStream, StoreDir: o.Dir, JetStreamMaxStore: o.MaxStore, SyncAlways: o.SyncAlways, DisableJetStreamBanner: true,
	}
	for _, key := range o.NKeys {
		so.Nkeys = append(so.Nkeys, &server.NkeyUser{Nkey: key})
	}
	if o.ClusterName != "" {
		so.Cluster = server.ClusterOpts{Name: o.ClusterName, Host: "127.0.0.1", Port: o.ClusterPort, NoAdvertise: true}
		so.Routes = server.RoutesFromStr(strings.Join(o.Routes, ","))
	}
	if o.TLS != nil {
		if err := o.tls(so); err != nil {
			return nil, err
		}
	}
	s, err := server.NewServer(so)
	if err != nil {
		return nil, fmt.Errorf("servers: start nats: %w", err)
	}
	return s, nil
}

func (o *NATSOptions) tls(so *server.Options) error {
	secure, err := server.GenTLSConfig(&server.TLSConfigOpts{
		CertFile: o.TLS.ServerCert, KeyFile: o.TLS.ServerKey, CaFile: o.TLS.CA, Verify: true, Timeout: 5,
	})
	if err != nil {
		return fmt.Errorf("servers: start nats: %w", err)
	}
	so.TLS, so.TLSVerify, so.TLSConfig, so.TLSTimeout = true, true, secure, 5
	return nil
}

// natsChild carries the options to a child process.
const natsChild = "BACKPLANE_NATS_SERVER"

func (n *NATS) startProcess() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("servers: start nats: %w", err)
	}
	settings, err := json.Marshal(n.options)
	if err != nil {
		return fmt.Errorf("servers: start nats: %w", err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), natsChild+"="+string(settings))
	p, err := spawn(cmd)
	if err != nil {
		return fmt.Errorf("servers: start nats: %w", err)
	}
	n.mu.Lock()
	n.process = p
	n.mu.Unlock()
	return nil
}

// RunNATSChild runs the server that StartNATS asked for, and exits, where this program was started as its child process.
// Elsewhere it returns at once. A program that starts servers as processes calls it first; testserver.Main does.
func RunNATSChild() {
	settings := os.Getenv(natsChild)
	if settings == "" {
		return
	}
	if err := runNATSChild(settings); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func runNATSChild(settings string) error {
	var o NATSOptions
	if err := json.Unmarshal([]byte(settings), &o); err != nil {
		return fmt.Errorf("servers: read the options of the nats-server: %w", err)
	}
	s, err := o.newServer()
	if err != nil {
		return err
	}
	ended, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	s.Start()
	<-ended.Done()
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

// await returns when the server answers.
func (n *NATS) await(ctx context.Context) error {
	for {
		last := n.greet(ctx)
		if last == nil {
			return nil
		}
		n.mu.Lock()
		child := n.process
		n.mu.Unlock()
		if child != nil && !child.running() {
			return fmt.Errorf("servers: nats on %s ended (%w); it printed: %s", n.Addr(), child.err, child.output.String())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("servers: nats on %s did not answer (%w; %w)", n.Addr(), ctx.Err(), last)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// greet is nil when the server answers, and is ours: another program's server may have taken the port before ours did.
func (n *NATS) greet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", n.Addr())
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	var info struct {
		Name string `json:"server_name"`
	}
	text, ok := strings.CutPrefix(line, "INFO ")
	if !ok {
		return errors.New("something else answers on that port")
	}
	if err := json.Unmarshal([]byte(text), &info); err != nil {
		return err
	}
	if info.Name != n.options.Name {
		return errors.New("another server answers on that port")
	}
	return nil
}

// ClientTLS is what a client needs to connect to a server with TLS, or nil.
func (n *NATS) ClientTLS() (*tls.Config, error) {
	if n.options.TLS == nil {
		return nil, nil
	}
	return n.options.TLS.Config()
}
