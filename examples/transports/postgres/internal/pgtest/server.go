//go:build unix

package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Options of a server.
type Options struct {
	// Clock moves the server's clock. Nil: it has the machine's.
	Clock *Clock
	// Sync has the server flush to the disk, as one in production does. Tests do without: what is killed here is the
	// server, and not the machine.
	Sync bool
	// Settings are further lines of its configuration: "work_mem=64MB".
	Settings []string
}

// Server is one running PostgreSQL.
type Server struct {
	bin     string
	dir     string
	port    int
	options Options
	owner   *syscall.Credential // initdb and postgres refuse to be root

	mu      sync.Mutex
	cmd     *exec.Cmd
	exited  chan struct{}
	stopped []int // processes that are paused
}

// places where distributions put the programs, beside the PATH.
var places = []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin", "/opt/homebrew/opt/postgresql@*/bin"}

func find() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil { // postgres looks for its files beside itself
			path = real
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(path), "postgres")); err == nil {
			return filepath.Dir(path), nil
		}
	}
	for _, place := range places {
		found, _ := filepath.Glob(filepath.Join(place, "initdb")) // the patterns are right
		slices.Sort(found)
		if len(found) > 0 {
			return filepath.Dir(found[len(found)-1]), nil
		}
	}
	return "", &MissingError{Looked: places}
}

// NewServer makes a cluster of databases and starts a server on it.
func NewServer(ctx context.Context, o Options) (*Server, error) {
	bin, err := find()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, options: o}
	if s.dir, err = os.MkdirTemp("", "pgtest-"); err != nil {
		return nil, err
	}
	if err := s.begin(ctx); err != nil {
		s.Stop()
		return nil, fmt.Errorf("pgtest: start PostgreSQL: %w", err)
	}
	return s, nil
}

func (s *Server) begin(ctx context.Context) error {
	if err := s.lowerRights(); err != nil {
		return err
	}
	initdb := s.command("initdb", "-D", s.data(), "-U", "test", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	var err error
	if s.port, err = freePort(); err != nil {
		return err
	}
	return s.run(ctx)
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// lowerRights finds somebody else to be, if this is root: the owner of Debian's clusters, or nobody.
func (s *Server) lowerRights() error {
	if os.Geteuid() != 0 {
		return nil
	}
	uid, gid := uint32(65534), uint32(65534)
	if line, err := exec.Command("id", "-u", "postgres").Output(); err == nil {
		if n, err := strconv.ParseUint(strings.TrimSpace(string(line)), 10, 32); err == nil {
			uid, gid = uint32(n), uint32(n)
		}
	}
	s.owner = &syscall.Credential{Uid: uid, Gid: gid}
	return os.Chown(s.dir, int(uid), int(gid))
}

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner}
	dieWithParent(cmd.SysProcAttr)
	return cmd
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// run starts the server and returns when it answers.
func (s *Server) run(ctx context.Context) error {
	sync := "off"
	if s.options.Sync {
		sync = "on"
	}
	settings := append([]string{
		"listen_addresses=127.0.0.1", "port=" + strconv.Itoa(s.port), "unix_socket_directories=", "max_connections=400",
		"fsync=" + sync, "full_page_writes=" + sync, "shared_buffers=128MB", "max_wal_size=2GB", "log_min_messages=warning",
		"log_min_error_statement=panic", "deadlock_timeout=100ms", "autovacuum_naptime=5s",
	}, s.options.Settings...)
	args := []string{"-D", s.data()}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	cmd := s.command("postgres", args...)
	if s.options.Clock != nil {
		cmd.Env = s.options.Clock.environment()
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	exited := make(chan struct{})
	if err := start(cmd, exited); err != nil {
		return err
	}
	s.mu.Lock()
	s.cmd, s.exited = cmd, exited
	s.mu.Unlock()
	return s.awaitAnswer(ctx, exited)
}

func (s *Server) awaitAnswer(ctx context.Context, exited <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		conn, err := pgconn.Connect(ctx, s.URL())
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-exited:
			return fmt.Errorf("it has ended: %s", s.log())
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w: %s", err, s.log())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// log is the end of what the server said.
func (s *Server) log() string {
	all, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(all[max(0, len(all)-4096):])
}

// Addr is host:port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL is where a transport connects.
func (s *Server) URL() string { return s.URLAt(s.Addr()) }

// URLAt is the same for another address that leads there.
func (s *Server) URLAt(addr string) string {
	return "postgres://test@" + addr + "/postgres?sslmode=disable"
}

// Kill ends the server at once, without writing anything more: what it has acknowledged is in its log of writes.
func (s *Server) Kill() { s.end(syscall.SIGQUIT) }

// Restart starts a server that was killed.
func (s *Server) Restart(ctx context.Context) error { return s.run(ctx) }

// Stop ends the server and removes its files. Stopping twice is fine.
func (s *Server) Stop() {
	s.Resume()
	s.end(syscall.SIGINT)
	_ = os.RemoveAll(s.dir)
}

func (s *Server) end(signal os.Signal) {
	s.mu.Lock()
	cmd, exited := s.cmd, s.exited
	s.cmd = nil
	s.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(signal)
	select {
	case <-exited:
	case <-time.After(20 * time.Second):
		_ = cmd.Process.Kill()
		<-exited
	}
}

// Pause stops all processes of the server, as SIGSTOP does.
func (s *Server) Pause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return errors.New("pgtest: the server does not run")
	}
	parent := s.cmd.Process.Pid
	if err := syscall.Kill(parent, syscall.SIGSTOP); err != nil { // first, so that it has no more children
		return err
	}
	s.stopped = append(s.stopped, parent)
	children, err := childrenOf(parent)
	for _, pid := range children {
		if syscall.Kill(pid, syscall.SIGSTOP) == nil {
			s.stopped = append(s.stopped, pid)
		}
	}
	return err
}

// Resume lets a paused server go on.
func (s *Server) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, pid := range slices.Backward(s.stopped) {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
	s.stopped = nil
}

// childrenOf asks ps, which is on every Unix.
func childrenOf(parent int) ([]int, error) {
	out, err := exec.Command("ps", "-e", "-o", "pid=,ppid=").Output()
	if err != nil {
		return nil, fmt.Errorf("pgtest: list processes: %w", err)
	}
	var children []int
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) != 2 || fields[1] != strconv.Itoa(parent) {
			continue
		}
		if pid, err := strconv.Atoi(fields[0]); err == nil {
			children = append(children, pid)
		}
	}
	return children, nil
}
