package servers

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// RedisOptions say how to run a redis-server. The zero value is one on a free loopback port, in a temporary folder,
// without password and persistence.
type RedisOptions struct {
	Binary     string   // the program; empty: redis-server on the PATH
	Dir        string   // its folder, which must exist; empty: a temporary one, removed by Stop
	Port       int      // 0: a free one
	Password   string   // empty: none
	Persist    bool     // keep an append-only file, synced at every write: data survives Kill and Restart
	UnixSocket bool     // listen on a socket in the folder too; see Redis.Socket
	TLS        *TLS     // speak only TLS, and ask clients for a certificate
	Clock      *Clock   // its wall clock; nil: the machine's
	Args       []string // more arguments, after ours
}

// ErrNoRedis is in the error of StartRedis when there is no redis-server to start.
var ErrNoRedis = errors.New("no redis-server found")

// Redis is a redis-server that this program started. Its methods may be called one at a time.
type Redis struct {
	options RedisOptions
	dir     string
	ownDir  bool
	port    int

	mu      sync.Mutex
	process *process
}

const (
	startPatience = 10 * time.Second
	stopPatience  = 5 * time.Second
	portAttempts  = 10 // another program may take a free port before the server does
)

// StartRedis starts a server and returns when it answers. Whatever fails says what the server printed.
func StartRedis(ctx context.Context, o RedisOptions) (*Redis, error) {
	if o.Binary == "" {
		o.Binary = "redis-server"
	}
	binary, err := exec.LookPath(o.Binary)
	if err != nil {
		return nil, fmt.Errorf("servers: %w: %w; `make deps` installs it", ErrNoRedis, err)
	}
	o.Binary = binary
	r := &Redis{options: o, dir: o.Dir, port: o.Port}
	if r.dir == "" {
		if r.dir, err = os.MkdirTemp("", "redis-"); err != nil {
			return nil, fmt.Errorf("servers: start redis: %w", err)
		}
		r.ownDir = true
	}
	for range portAttempts {
		if o.Port == 0 {
			if r.port, err = freePort(); err != nil {
				break
			}
		}
		if err = r.start(ctx); !errors.Is(err, errPortTaken) || o.Port != 0 {
			break
		}
	}
	if err != nil {
		r.Stop()
		return nil, err
	}
	return r, nil
}

// Addr is host:port.
func (r *Redis) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(r.port)) }

// Socket is the path of the unix socket, if one was asked for.
func (r *Redis) Socket() string {
	if !r.options.UnixSocket {
		return ""
	}
	return filepath.Join(r.dir, "redis.sock")
}

// URL is where the server is, with its password: redis://:secret@127.0.0.1:6379, or rediss:// with TLS.
func (r *Redis) URL() string {
	u := url.URL{Scheme: "redis", Host: r.Addr()}
	if r.options.TLS != nil {
		u.Scheme = "rediss"
	}
	if r.options.Password != "" {
		u.User = url.UserPassword("", r.options.Password)
	}
	return u.String()
}

// PID is the server's process.
func (r *Redis) PID() int {
	if p := r.current(); p != nil {
		return p.cmd.Process.Pid
	}
	return 0
}

// Stop ends the server, waits for it, and removes its folder if StartRedis made it. Stopping twice is fine.
func (r *Redis) Stop() {
	if p := r.current(); p != nil {
		p.stop(stopPatience)
	}
	if r.ownDir {
		_ = os.RemoveAll(r.dir)
	}
}

// Kill ends the server as a crash would, and waits for it. Restart starts it again.
func (r *Redis) Kill() {
	if p := r.current(); p != nil {
		p.kill()
	}
}

// Restart starts the server again on the same port and in the same folder, after ending it if it runs.
func (r *Redis) Restart(ctx context.Context) error {
	if p := r.current(); p != nil {
		p.stop(stopPatience)
	}
	var err error
	for range portAttempts {
		if err = r.start(ctx); !errors.Is(err, errPortTaken) {
			break
		}
	}
	return err
}

// Pause stops the server's process in its tracks (SIGSTOP): its connections stay up and nothing answers. It does not
// work on Windows.
func (r *Redis) Pause() error { return r.signal(pause) }

// Resume lets a paused server go on.
func (r *Redis) Resume() error { return r.signal(resume) }

func (r *Redis) signal(send func(*os.Process) error) error {
	p := r.current()
	if p == nil || !p.running() {
		return errors.New("servers: redis does not run")
	}
	return send(p.cmd.Process)
}

func (r *Redis) current() *process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.process
}

var errPortTaken = errors.New("the port is taken")

func (r *Redis) start(ctx context.Context) error {
	cmd := exec.Command(r.options.Binary, r.arguments()...)
	if r.options.Clock != nil {
		cmd.Env = r.options.Clock.environment()
	}
	p, err := spawn(cmd)
	if err != nil {
		return fmt.Errorf("servers: start %s: %w", r.options.Binary, err)
	}
	r.mu.Lock()
	r.process = p
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		last := r.ping(ctx, p)
		if last == nil {
			return nil
		}
		select {
		case <-p.exited:
			if printed := p.output.String(); strings.Contains(printed, "in use") {
				return fmt.Errorf("servers: start redis on %s: %w", r.Addr(), errPortTaken)
			} else {
				return fmt.Errorf("servers: redis on %s ended: %w; it printed: %s", r.Addr(), p.err, printed)
			}
		case <-ctx.Done():
			p.kill()
			return fmt.Errorf("servers: redis on %s did not answer (%w; %w); it printed: %s", r.Addr(), ctx.Err(), last, p.output.String())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (r *Redis) arguments() []string {
	o := r.options
	port := strconv.Itoa(r.port)
	args := []string{"--bind", "127.0.0.1", "--dir", r.dir, "--save", "", "--daemonize", "no"}
	if o.TLS == nil {
		args = append(args, "--port", port)
	} else {
		args = append(args, "--port", "0", "--tls-port", port, "--tls-ca-cert-file", o.TLS.CA,
			"--tls-cert-file", o.TLS.ServerCert, "--tls-key-file", o.TLS.ServerKey, "--tls-auth-clients", "yes")
	}
	if o.Persist {
		args = append(args, "--appendonly", "yes", "--appendfsync", "always")
	} else {
		args = append(args, "--appendonly", "no")
	}
	if o.Password != "" {
		args = append(args, "--requirepass", o.Password)
	}
	if o.UnixSocket {
		args = append(args, "--unixsocket", r.Socket())
	}
	return append(args, o.Args...)
}

// ping is nil when the server answers, and is p: another program's server may have taken the port before ours did.
func (r *Redis) ping(ctx context.Context, p *process) error {
	conn, err := r.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	request := "INFO server\r\n"
	if r.options.Password != "" {
		request = fmt.Sprintf("*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n", len(r.options.Password), r.options.Password) + request
	}
	if _, err := conn.Write([]byte(request + "PING\r\n")); err != nil {
		return err
	}
	ours := false
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "-"):
			return errors.New(line[1:]) // LOADING, for one
		case line == "process_id:"+strconv.Itoa(p.cmd.Process.Pid):
			ours = true
		case line == "+PONG" && ours:
			return nil
		case line == "+PONG":
			return errors.New("another server answers on that port")
		}
	}
	return errors.New("no answer to PING")
}

func (r *Redis) dial(ctx context.Context) (net.Conn, error) {
	if r.options.TLS == nil {
		return (&net.Dialer{}).DialContext(ctx, "tcp", r.Addr())
	}
	config, err := r.options.TLS.Config()
	if err != nil {
		return nil, err
	}
	return (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", r.Addr())
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("servers: find a free port: %w", err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}
